"""HTTP connections that a stranger opens and says nothing on must not use up our file descriptors:
the journal needs some of them."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 200
"""Connections at a time; more are closed at once."""
HEAD = 10.0
"""How long the head of the first request may take (s)."""


class Bounded(H11Protocol):
    """Uvicorn's protocol with both bounds."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room for it."""
        if len(self.connections) >= MOST:
            transport.abort()
            return
        super().connection_made(transport)
        self.loop.call_later(HEAD, self._look, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it, if it was taken."""
        if self in self.connections:
            super().connection_lost(exc)

    def _look(self, transport: asyncio.Transport) -> None:
        asked: object = self.cycle  # None until then, whatever uvicorn's annotation says
        if asked is None and not transport.is_closing():
            transport.abort()
