"""Pooling: connections are opened when needed, kept, lent, and thrown away after a failure."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic

from gateway.core.contracts import Batch, Bridge, ConnT
from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.stages.breaker import Breaker

CONNECT_TIMEOUT = 10.0
"""Longest a connection may take to open (s)."""


@dataclass(slots=True)
class Lent(Generic[ConnT]):
    """An open connection and how to close it."""

    conn: ConnT
    closing: AsyncExitStack


class Pool(Generic[ConnT]):
    """Up to `size` connections of one bridge to one endpoint; the last returned is lent first.

    `send` is the end of the chain around a bridge. Whoever waits is served in the order of
    asking. idle, busy: connections by state.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[ConnT]],
        size: int,
        breaker: Breaker,
    ) -> None:
        self.breaker = breaker
        self.busy = 0
        self.opened = 0
        self._connect = connect
        self._idle: list[Lent[ConnT]] = []
        self._places = asyncio.Semaphore(size)

    @property
    def idle(self) -> int:
        """Open connections that nobody uses."""
        return len(self._idle)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[ConnT]:
        """A connection for as long as the context lasts; thrown away if it ends in an error that
        may lie with the connection. Raises Unavailable, Throttled or Denied."""
        async with self._places:
            self.breaker.enter()
            lent: Lent[ConnT] | None = None
            try:
                lent = await self._lend()
                self.busy += 1
                try:
                    yield lent.conn
                finally:
                    self.busy -= 1
            except Rejected:
                self._keep(lent)  # the endpoint is well: it was the batch
                raise
            except (Unavailable, Denied):
                self.breaker.failed()
                await self._discard(lent)
                raise
            except BaseException:
                self.breaker.abandoned()
                await self._discard(lent)
                raise
            self._keep(lent)

    async def send(self, bridge: Bridge[ConnT], batch: Batch) -> None:
        """Send through a pooled connection. Raises what the bridge raises."""
        async with self.acquire() as conn:
            await bridge.send(conn, batch)

    async def warm(self, count: int) -> None:
        """Have `count` connections open before they are needed; a failure is no news here, for
        whoever needs one meets it again."""
        while len(self._idle) + self.busy < count:
            try:
                self._idle.append(await self._open())
            except (Unavailable, Denied):
                return

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().closing.aclose()

    async def _lend(self) -> Lent[ConnT]:
        return self._idle.pop() if self._idle else await self._open()

    async def _open(self) -> Lent[ConnT]:
        closing = AsyncExitStack()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                conn = await closing.enter_async_context(self._connect())
        except TimeoutError as error:
            raise Unavailable(f"no connection within {CONNECT_TIMEOUT:.0f} s") from error
        self.opened += 1
        return Lent(conn, closing)

    def _keep(self, lent: Lent[ConnT] | None) -> None:
        self.breaker.succeeded()
        if lent is not None:
            self._idle.append(lent)

    async def _discard(self, lent: Lent[ConnT] | None) -> None:
        if lent is not None:
            await lent.closing.aclose()
