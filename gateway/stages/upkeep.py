"""What keeps a pool in order in the background: its size, the age and health of what idles, and
probes that bring failed endpoints back.

How many connections are kept open: as many as were in use at a time at most within the last `idle`
seconds, at least `min`. By Little's law (J. D. C. Little, Operations Research 9, 1961) the number
in use is what the load asks for, writes a second times seconds a write; keeping its highest value
over a window, and closing what nobody needed in it, is how psycopg_pool shrinks. A connection that
is lent is always the one that came back last, so that those above the need are the ones that idle.
It grows at once: who finds none idle opens one. What breaks or grows too old is replaced here,
before somebody needs it.
"""

import asyncio
import logging
import time
from typing import Any

from gateway.core.errors import BerrygateError
from gateway.stages.ages import Ages
from gateway.stages.breaker import BreakerOpen
from gateway.stages.endpoints import EndpointState, Lent, PoolEndpoint, all_idle, longest_idle
from gateway.stages.pool import Pool

log = logging.getLogger(__name__)

_REST = 30.0  # after a connection that did not open ahead of need (s)
_PROBE = 1.0  # how often failed endpoints are looked at where there are several (s)
_SLOWEST, _QUICKEST = 5.0, 0.05  # bounds of how often all is looked at (s)


class Upkeep:
    """The upkeep of one pool. name: whose it is, for the log."""

    def __init__(self, name: str, pool: Pool[Any]) -> None:
        self._name = name
        self._pool = pool
        self._ages = Ages(pool.settings)
        self._periods = (0, 0)  # most in use at a time in the last two
        self._turned = time.monotonic()
        self._resting = 0.0
        self._told: dict[str, EndpointState] = {}

    @property
    def wanted(self) -> int:
        """How many connections are kept open."""
        settings = self._pool.settings
        return min(max(settings.min, self._pool.places.most, *self._periods), settings.max)

    async def run(self) -> None:
        """Keep it in order until cancelled. What fails here, a call meets again."""
        while True:
            try:
                await self.once()
            except Exception:
                log.exception("bridge %s: upkeep of its connections failed", self._name)
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        settings = self._pool.settings
        limits = [settings.idle, settings.max_age, settings.check, 8 * _SLOWEST]
        pause = min(each for each in limits if each) / 8
        if len(self._pool.endpoints) > 1:
            pause = min(pause, _PROBE)
        return max(pause, _QUICKEST)

    async def once(self) -> None:
        """Look at everything once."""
        if self._pool.by_driver:
            await self._ask()
        else:
            self._turn()
            self._reap()
            await self._look()
        if len(self._pool.endpoints) > 1:
            await self._probe()
            self._tell()
        await self._fill()

    def _turn(self) -> None:
        """Thirds of the window: what was needed in a third counts until two more have passed."""
        now = time.monotonic()
        if now - self._turned >= self._pool.settings.idle / 3:
            self._turned = now
            self._periods = (self._pool.places.most, self._periods[0])
            self._pool.places.most = self._pool.places.taken

    def _reap(self) -> None:
        """Close what is too old, and what nobody needs."""
        pool, now = self._pool, time.monotonic()
        for endpoint, lent in all_idle(pool.endpoints):
            if now >= lent.expires:
                endpoint.idle.remove(lent)
                pool.discard_soon(lent, "age")
        while pool.idle + pool.places.taken > self.wanted:
            found = longest_idle(pool.endpoints)
            if found is None or now - found[1].since < found[1].patience:
                return
            found[0].idle.remove(found[1])
            pool.discard_soon(found[1], "idle")

    async def _look(self) -> None:
        """Check what has idled for long, so that a dead connection is found before it is used."""
        pool, now = self._pool, time.monotonic()
        if pool.check is None:
            return
        for endpoint, lent in all_idle(pool.endpoints):
            # Not while callers need every place there is.
            if not self._ages.due(lent, now) or pool.places.full:
                continue
            await pool.places.enter()
            try:
                if lent in endpoint.idle:
                    await self._look_at(endpoint, lent)
            finally:
                pool.places.leave()

    async def _ask(self) -> None:
        """The same of what the driver pools, which finds what is dead in there by itself."""
        if self._pool.check is None:
            return
        now = time.monotonic()
        for endpoint, lent in all_idle(self._pool.endpoints):
            if endpoint.missed or not self._ages.due(lent, now):
                continue  # where the last write failed, the next one asks first
            try:
                await self._pool.ask(lent)
                endpoint.unanswered = ""
            except BerrygateError as error:
                log.debug("the driver's pool to %s does not work: %s", endpoint.name, error)
                endpoint.doubted, endpoint.unanswered = now, str(error)

    async def _look_at(self, endpoint: PoolEndpoint[Any], lent: Lent[Any]) -> None:
        endpoint.idle.remove(lent)
        try:
            await self._pool.prove(lent)
        except BerrygateError as error:
            log.debug("a connection to %s no longer works: %r", endpoint.name, error)
            endpoint.unanswered = str(error)
            return
        endpoint.unanswered = ""
        # Before those that came back meanwhile: it is still the longest unused.
        endpoint.idle.insert(0, lent)

    # -- several endpoints ------------------------------------------------------------------

    async def _probe(self) -> None:
        """Try endpoints that failed, so that no reading has to. One that is ejected is tried once
        its breaker lets a trial pass."""
        failed = [each for each in self._pool.endpoints if each.missed]
        await asyncio.gather(*map(self._try, failed))

    async def _try(self, endpoint: PoolEndpoint[Any]) -> None:
        """Takes no place: while it hangs, writes to other endpoints go on."""
        pool = self._pool
        try:
            endpoint.breaker.enter()
            lent = await self._working(endpoint)
        except BreakerOpen:
            return
        except (BerrygateError, OSError) as error:
            endpoint.failure(time.monotonic(), error)
            return
        except BaseException:
            endpoint.breaker.abandoned()
            raise
        now = time.monotonic()
        endpoint.succeeded(now, endpoint.latency)
        if pool.idle + pool.places.taken < pool.settings.max or pool.by_driver:
            pool.keep(endpoint, lent, now)
        else:
            pool.discard_soon(lent, "probe")

    async def _working(self, endpoint: PoolEndpoint[Any]) -> Lent[Any]:
        pool = self._pool
        if pool.by_driver and pool.check is not None:
            began = time.monotonic()
            lent = await pool.take(endpoint)
            if lent.looked < began:
                await pool.ask(lent)
            return lent
        lent = await pool.open(endpoint)
        if pool.by_driver:
            # The one that is there cannot be asked: that another one opens is all that tells.
            pool.discard_soon(lent, "probe")
        elif pool.check is not None:
            await pool.prove(lent)
        return lent

    def _tell(self) -> None:
        """Log endpoints that are no longer used, and that are again."""
        now = time.monotonic()
        for endpoint in self._pool.endpoints:
            state = endpoint.state(now)
            before = self._told.get(endpoint.name, EndpointState.HEALTHY)
            self._told[endpoint.name] = state
            if state is before:
                continue
            where = f"bridge {self._name}: endpoint {endpoint.name}"
            if state is EndpointState.FAILED:
                log.warning("%s is not used any more: %s", where, endpoint.last_error)
            elif state is EndpointState.RECOVERING:
                log.warning("%s answers again", where)

    # -- size -------------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Open what is missing, each with the endpoint that has least; none with one that fails:
        whoever needs it tries it."""
        pool = self._pool
        if time.monotonic() < self._resting:
            return  # wrong credentials, tried again and again, lock an account
        while pool.idle + pool.places.taken < self._missing_below() and not pool.places.full:
            well = [each for each in pool.endpoints if each.closed and not each.missed]
            if not well:
                return
            endpoint = min(well, key=lambda each: len(each.idle) + each.busy)
            if not await self._one_more(endpoint):
                self._resting = time.monotonic() + _REST
                return

    def _missing_below(self) -> int:
        if self._pool.by_driver:
            return 1 if self._pool.settings.min else 0
        return self.wanted

    async def _opened(self, endpoint: PoolEndpoint[Any]) -> Lent[Any]:
        return await (self._pool.take if self._pool.by_driver else self._pool.open)(endpoint)

    async def _one_more(self, endpoint: PoolEndpoint[Any]) -> bool:
        pool = self._pool
        await pool.places.enter()
        try:
            # What did not answer is asked, too: that a connection opens says little with HTTP.
            asks = endpoint.unanswered and not pool.by_driver
            lent = await (self._working if asks else self._opened)(endpoint)
            endpoint.unanswered = ""
            pool.keep(endpoint, lent, time.monotonic())
        except BerrygateError as error:
            log.debug("no connection to %s ahead of need: %s", endpoint.name, error)
            endpoint.unanswered = str(error)
            return False
        except Exception:
            log.exception("the driver failed to connect")
            return False
        finally:
            pool.places.leave()
        return True
