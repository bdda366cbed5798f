"""Pooling: connections are opened when needed, kept, lent, and thrown away after a failure."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic

from gateway.core.contracts import Batch, Bridge, ConnT
from gateway.core.errors import BerrygateError, Denied, Rejected, Unavailable
from gateway.stages.breaker import Breaker

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""Longest a connection may take to open (s)."""
CLOSE_TIMEOUT = 1.0
"""Longest one may take to close; then it is left behind (s)."""


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
            except (Unavailable, Denied, OSError):
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
            except BerrygateError:
                return
            except Exception:
                log.exception("the driver failed to connect")
                return

    async def close(self) -> None:
        """Close what is idle."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(self._discard, idle))

    async def _lend(self) -> Lent[ConnT]:
        return self._idle.pop() if self._idle else await self._open()

    async def _open(self) -> Lent[ConnT]:
        closing = AsyncExitStack()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                conn = await closing.enter_async_context(self._connect())
        except TimeoutError as error:
            raise Unavailable(f"no connection within {CONNECT_TIMEOUT:.0f} s") from error
        except OSError as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        self.opened += 1
        return Lent(conn, closing)

    def _keep(self, lent: Lent[ConnT] | None) -> None:
        self.breaker.succeeded()
        if lent is not None:
            self._idle.append(lent)

    async def _discard(self, lent: Lent[ConnT] | None) -> None:
        if lent is None:
            return
        try:
            # A peer that does not answer must hold up neither the next attempt nor our end, and
            # what goes wrong here must not hide why the connection is thrown away.
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await lent.closing.aclose()
        except Exception as error:  # noqa: BLE001 - a connection that is thrown away
            log.debug("a connection did not close: %s", error)
