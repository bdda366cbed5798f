"""`GET /api/v1/export`: history as a stream, no faster than it is read."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from starlette.types import Receive, Scope, Send

from gateway.core.errors import Unavailable
from gateway.store.exporting import Export, Piece
from gateway.web.house import House
from gateway.web.params import ExportParams

log = logging.getLogger(__name__)

STALLED = 300.0
"""A client that takes nothing for so long is let go (s)."""
_CONTENT = {
    "text/csv": {"schema": {"type": "string"}},
    "application/x-ndjson": {"schema": {"type": "string"}},
    "text/plain": {"schema": {"type": "string"}},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": _CONTENT, "description": "History, in the form that was asked for."}
}


def add_export(routes: APIRouter, house: House) -> None:
    """Add the operation."""

    @routes.get("/export", response_class=Response, responses=_RESPONSES, tags=["history"])
    async def export(request: Request, asked: Annotated[ExportParams, Query()]) -> Response:
        """History as CSV, JSON lines or InfluxDB line protocol; every sample, or one value for
        each `every`."""
        if request.scope["http_version"] == "1.0":
            # Such a client takes the end of the connection for the end of the data.
            raise HTTPException(505, "an export needs HTTP/1.1: its end could not be told apart")
        async with AsyncExitStack() as stack:
            try:
                found = stack.enter_context(house.exporting(asked.selection))
            except LookupError as error:
                raise HTTPException(404, str(error.args[0])) from error
            pieces = found.pieces()
            stack.push_async_callback(pieces.aclose)  # type: ignore[attr-defined]
            # What goes wrong before the first byte can still be said properly.
            first = await anext(pieces)
            whole = request.scope.get("berrygate.method") != "HEAD"
            return _Streamed(found, first, pieces, stack.pop_all(), whole)


class _Streamed(Response):
    """Sends an export while its client reads; where it breaks off, so does the response."""

    def __init__(
        self,
        export: Export,
        first: Piece,
        pieces: AsyncIterator[Piece],
        stack: AsyncExitStack,
        whole: bool,
    ) -> None:
        name = time.strftime(f"berrygate-%Y%m%dT%H%M%SZ.{export.suffix}", time.gmtime())
        self.media_type = export.media_type
        self.status_code = 200
        self.background = None
        self.init_headers({"Content-Disposition": f'attachment; filename="{name}"'})
        del self.headers["content-length"]
        self._export, self._first, self._pieces = export, first, pieces
        self._stack, self._whole = stack, whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface. Returning before the end makes the server close the connection in
        the middle of a chunked body, which no client takes for the end (RFC 9112, 8)."""
        async with self._stack:
            sending = asyncio.create_task(self._send(send))
            leaving = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                # The server stops and closes the connection; raised further, this would only be a
                # page in its log.
                return
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.wait([sending, leaving])
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._all()) as parts:  # type: ignore[type-var]
                async for data in parts:
                    async with asyncio.timeout(STALLED):
                        await send({"type": "http.response.body", "body": data, "more_body": True})
        except Unavailable as error:
            log.error("http: an export broke off: %s", error)
            return
        except TimeoutError:
            log.warning("http: an export broke off: its client takes nothing")
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _all(self) -> AsyncIterator[bytes]:
        if not self._whole:
            return
        yield self._first.data
        async for piece in self._pieces:
            if piece.data:
                yield piece.data
        if note := self._export.note():
            yield note


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
