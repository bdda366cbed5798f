"""The pages: status at `/`, the API's documentation at `/docs`; nothing comes from elsewhere."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

_FILES = Path(__file__).parent / "static"


def install(app: FastAPI) -> None:
    """Serve the pages from `app`."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def index() -> FileResponse:
        return FileResponse(_FILES / "index.html", headers={"Cache-Control": "no-cache"})

    @routes.get("/docs")
    async def docs() -> FileResponse:
        return FileResponse(_FILES / "docs.html", headers={"Cache-Control": "no-cache"})

    app.include_router(routes)
    app.mount("/static", StaticFiles(directory=_FILES))
