"""The web application: the API with its description, the pages, and the probes as described.

FastAPI is imported here and in this module's helpers only, and this module by nobody at a start: it
costs 0.3 s and 20 MB, which neither the command line nor a gateway that nobody looks at must pay.
"""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.openapi.utils import get_openapi

from gateway import __version__
from gateway.web import api, models, pages, problems
from gateway.web.house import House
from gateway.web.params import NoParams
from gateway.web.plain import Plain
from gateway.web.probes import Probes

_DESCRIPTION = """Reading the gateway. All times in answers are epoch milliseconds; times in
queries are ISO 8601, epoch milliseconds or relative (`-24h`). Errors are problem details
(RFC 9457)."""


def application(house: House) -> FastAPI:
    """The web application of `house`."""
    app = FastAPI(
        title="Berrygate",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # FastAPI's own pages load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    app.include_router(_probes(house))
    app.include_router(api.router(house))
    pages.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        schemas = app.openapi_schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.SCHEMA
    return app.openapi_schema


def _probes(house: House) -> APIRouter:
    """For the description, and for who asks in another way than they should be."""
    routes = APIRouter(responses=problems.RESPONSES, tags=["probes"])
    probes = Probes(house)

    @routes.get("/healthz", response_model=models.Alive)
    async def healthz(_: Annotated[NoParams, Query()]) -> Response:
        """The process is alive."""
        return _response(probes.alive())

    @routes.get("/readyz", response_model=models.Ready)
    async def readyz(_: Annotated[NoParams, Query()]) -> Response:
        """Data is accepted; 503 with reasons where it is not."""
        return _response(probes.ready())

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """For Prometheus."""
        return _response(probes.metrics())

    return routes


def _response(plain: Plain) -> Response:
    return Response(plain.body, plain.status, plain.headers, plain.media_type)
