"""Pooling: connections are opened when needed, kept, lent, and thrown away after a failure.

`Pool` lends them; what happens beside that (checks, ages, sizes, probes) is in `upkeep`, which
endpoint is used in `endpoints`. A page on all of it: docs/stages/pool.md.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Generic

from gateway.core.contracts import (
    Batch,
    Bridge,
    Checkable,
    ConnT,
    DriverFigures,
    Endpoints,
    PooledByDriver,
)
from gateway.core.errors import BerrygateError, Rejected, Unavailable
from gateway.core.settings import BridgeSettings, PoolSettings
from gateway.stages.ages import Ages
from gateway.stages.breaker import Breaker, BreakerState
from gateway.stages.endpoints import Lent, PoolEndpoint, longest_idle
from gateway.stages.lease import Lease
from gateway.stages.places import Places

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 1.0
"""Longest one may take to close; then it is left behind (s)."""

Check = Callable[[Any], Awaitable[None]]
"""Returns if a connection works. Raises Unavailable or Denied."""


class Pool(Generic[ConnT]):
    """Up to `settings.max` connections of one bridge to its endpoints.

    `send` is the end of the chain around a bridge. Whoever waits is served in the order of
    asking. Opening, lending and closing are safe against cancellation: a connection is always
    somebody's, the pool's or closed.

    opened: how many connections were opened. closed: how many were closed, by reason (failed,
    cancelled, idle, age, check, moved, probe, end). check: tells whether one works. by_driver:
    the connection is the driver's own pool, see PooledByDriver; figures: what that says of itself.
    """

    def __init__(
        self,
        endpoints: list[PoolEndpoint[ConnT]],
        settings: PoolSettings,
        check: Check | None = None,
        by_driver: bool = False,
        figures: Callable[[Any], Mapping[str, int]] | None = None,
    ) -> None:
        self.endpoints = endpoints
        self.settings = settings
        self.check = check
        self.by_driver = by_driver
        self.figures = figures
        self.opened = 0
        self.closed: Counter[str] = Counter()
        self._ages = Ages(settings)
        self.places = Places(settings.max, settings.acquire_timeout)
        self._ended = False
        self._closing: set[asyncio.Task[None]] = set()
        for endpoint in endpoints:
            endpoint.alone = len(endpoints) == 1

    # -- what others see --------------------------------------------------------------------

    @property
    def idle(self) -> int:
        """Open connections that nobody uses."""
        return sum(len(each.idle) for each in self.endpoints)

    @property
    def busy(self) -> int:
        """Connections in use, those that are being opened for somebody among them."""
        return sum(each.busy for each in self.endpoints)

    @property
    def breaker(self) -> Breaker:
        """The breaker of the endpoint that is best off."""
        order = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)
        found = (each.breaker for each in self.endpoints)
        return min(found, key=lambda breaker: (order.index(breaker.state), breaker.remaining))

    def hurry(self) -> None:
        """Endpoints whose breakers are open may be tried now."""
        for endpoint in self.endpoints:
            endpoint.breaker.hurry()

    @property
    def unanswered(self) -> str:
        """Why none of the endpoints answered when it was last looked at; "" where one did."""
        found = [each.unanswered for each in self.endpoints]
        return found[0] if all(found) else ""

    def elsewhere(self) -> bool:
        """Whether there are several endpoints, and one that has not failed just now."""
        return len(self.endpoints) > 1 and any(e.closed and not e.missed for e in self.endpoints)

    def as_dict(self) -> dict[str, Any]:
        """For status and the API."""
        now = time.monotonic()
        return {
            "idle": self.idle,
            "busy": self.busy,
            "waiting": self.places.waiting,
            "max": self.settings.max,
            "opened": self.opened,
            "closed": dict(self.closed),
            "timeouts": self.places.timeouts,
            "endpoints": [each.as_dict(now) | self._driver(each) for each in self.endpoints],
        }

    def _driver(self, endpoint: PoolEndpoint[ConnT]) -> dict[str, Any]:
        """What the driver's own pool says of itself; nothing where there is none."""
        if self.figures is None or not endpoint.idle:
            return {}
        return {"driver": dict(self.figures(endpoint.idle[-1].conn))}

    # -- lending ----------------------------------------------------------------------------

    def acquire(self) -> Lease[ConnT]:
        """A connection for as long as the context lasts; thrown away if it ends in an error that
        may lie with the connection. Raises Unavailable, Throttled or Denied."""
        return Lease(self)

    async def send(self, bridge: Bridge[ConnT], batch: Batch) -> None:
        """Send through a pooled connection. Raises what the bridge raises."""
        async with Lease(self) as conn:
            await bridge.send(conn, batch)

    async def take(self, endpoint: PoolEndpoint[ConnT]) -> Lent[ConnT]:
        """A connection to the endpoint for somebody who has a place: the one that came back last,
        if it is to be trusted, or a new one. Raises Unavailable, Throttled or Denied."""
        if self.by_driver:
            return await self._shared(endpoint)
        while endpoint.idle:
            lent = endpoint.idle.pop()
            looked = self._ages.looked(lent, endpoint.doubted, self.check is not None)
            if looked or await self.works(endpoint, lent):
                return lent
        await self._make_room()
        return await self.open(endpoint)

    async def _shared(self, endpoint: PoolEndpoint[ConnT]) -> Lent[ConnT]:
        """The driver's own pool, opened once. What broke one of its connections has mostly broken
        all: after a failure it is asked first, where it can be, so that a restart of the other
        side costs one write and not one a connection."""
        asked = time.monotonic()
        if endpoint.idle and not self._doubtful(endpoint):
            return endpoint.idle[-1]
        async with endpoint.opening:
            if endpoint.doubted >= asked:  # whoever was first in here has waited for nothing
                raise Unavailable(endpoint.last_error or "the driver's pool does not work")
            if not endpoint.idle:
                lent = await self.open(endpoint)
                if self._ended:  # meanwhile, and nobody would close it
                    self.discard_soon(lent, "end")
                    raise Unavailable("the bridge has ended")
                endpoint.idle.append(lent)
            elif self._doubtful(endpoint):
                await self.ask(endpoint.idle[-1])
            return endpoint.idle[-1]

    def _doubtful(self, endpoint: PoolEndpoint[ConnT]) -> bool:
        return self.check is not None and endpoint.idle[-1].looked <= endpoint.doubted

    async def ask(self, lent: Lent[ConnT]) -> None:
        """Look at a connection, or a driver's own pool. Raises Unavailable, Throttled or Denied; it
        stays open all the same."""
        assert self.check is not None, "asked for where there is one"
        limit = self.settings.connect_timeout
        try:
            async with asyncio.timeout(limit):
                await self.check(lent.conn)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {limit:g} s") from error
        except BerrygateError as error:
            if not isinstance(error, Rejected):  # else it answered
                raise
        except Exception as error:  # a driver's bug in here must not be blamed on a reading
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        lent.looked = time.monotonic()

    async def works(self, endpoint: PoolEndpoint[ConnT], lent: Lent[ConnT]) -> bool:
        """Whether a connection is still good; if not it is closed. Without a check: it is not."""
        if self.check is None:
            await self.discard(lent, "check")
            return False
        try:
            await self.prove(lent)
        except BerrygateError as error:
            log.debug("a connection to %s no longer works: %r", endpoint.name, error)
            return False
        return True

    async def prove(self, lent: Lent[ConnT]) -> None:
        """Look at a connection, which is closed if it does not work. Raises Unavailable, Throttled
        or Denied."""
        try:
            await self.ask(lent)
        except BerrygateError:
            await self.discard(lent, "check")
            raise
        except BaseException:
            self.discard_soon(lent, "cancelled")
            raise

    async def open(self, endpoint: PoolEndpoint[ConnT]) -> Lent[ConnT]:
        """A new connection. Raises Unavailable, Throttled or Denied."""
        closing = AsyncExitStack()
        limit = self.settings.connect_timeout
        try:
            async with asyncio.timeout(limit):
                conn = await closing.enter_async_context(endpoint.connect())
        except TimeoutError as error:
            raise Unavailable(f"no connection within {limit:g} s") from error
        except OSError as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        self.opened += 1
        lent = Lent(conn, closing)
        self._ages.begin(lent)
        return lent

    async def _make_room(self) -> None:
        """No more connections than `max`, although idle ones may be with other endpoints."""
        while self.idle + self.places.taken > self.settings.max:
            found = longest_idle(self.endpoints)
            assert found is not None, "what is taken is never more than max"
            endpoint, lent = found
            endpoint.idle.remove(lent)
            await self.discard(lent, "moved")

    def keep(self, endpoint: PoolEndpoint[ConnT], lent: Lent[ConnT], now: float) -> None:
        """Take a connection back that works."""
        if self.by_driver:
            return
        lent.since = lent.looked = now
        if self._ended or now >= lent.expires:
            self.discard_soon(lent, "end" if self._ended else "age")
        else:
            endpoint.idle.append(lent)

    # -- closing ----------------------------------------------------------------------------

    async def discard(self, lent: Lent[ConnT] | None, reason: str) -> None:
        """Close a connection; goes on in the background if the caller is cancelled."""
        if lent is not None and not self.by_driver:
            await asyncio.shield(self.discard_soon(lent, reason))

    def discard_soon(self, lent: Lent[ConnT], reason: str) -> asyncio.Task[None]:
        """Close a connection in the background."""
        self.closed[reason] += 1
        task = asyncio.create_task(_close(lent))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def close(self) -> None:
        """Close what is idle, and wait for what is being closed; what is in use is closed when it
        comes back."""
        self._ended = True
        for endpoint in self.endpoints:
            idle, endpoint.idle = endpoint.idle, []
            for lent in idle:
                self.discard_soon(lent, "end")
        if self._closing:
            await asyncio.wait(self._closing)


async def _close(lent: Lent[Any]) -> None:
    try:
        # A peer that does not answer must hold up neither the next attempt nor our end, and what
        # goes wrong here must not hide why the connection is thrown away.
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await lent.closing.aclose()
    except Exception as error:  # noqa: BLE001 - a connection that is thrown away
        log.debug("a connection did not close: %s", error)


def pool_of(bridge: Bridge[Any], settings: BridgeSettings) -> Pool[Any]:
    """The pool of a bridge, on the running loop."""
    given = settings.retry.breaker

    def endpoint(name: str, connect: Callable[[], Any]) -> PoolEndpoint[Any]:
        breaker = Breaker(given.failures, given.reset, rate=given.rate, window=given.window)
        return PoolEndpoint(name, connect, breaker)

    connect: Callable[..., Any] = bridge.connect
    names = bridge.endpoints if isinstance(bridge, Endpoints) else ()
    endpoints = [endpoint(name, partial(connect, name)) for name in names]
    return Pool(
        endpoints or [endpoint(bridge.name, connect)],
        settings.pool,
        bridge.check if isinstance(bridge, Checkable) else None,
        isinstance(bridge, PooledByDriver),
        bridge.figures if isinstance(bridge, DriverFigures) else None,
    )
