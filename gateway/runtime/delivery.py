"""The pump from the bus to a bridge: lanes, each with one batch in flight, through the stages."""

import asyncio
import logging
import time
from functools import partial
from typing import Any

from gateway.bus.bus import Bus
from gateway.bus.subscription import Lane, Subscription
from gateway.core.contracts import Batch, Bridge, Flag, Reading
from gateway.core.errors import BerrygateError, Rejected, Unavailable
from gateway.core.events import DeadLettered
from gateway.core.settings import BridgeSettings
from gateway.runtime.clock import Clock
from gateway.stages import compose
from gateway.stages.breaker import Breaker
from gateway.stages.health import HealthStage
from gateway.stages.pool import Pool
from gateway.stages.profiling import Profiler, ProfilingStage
from gateway.stages.retry import Retry
from gateway.store.dead_letters import DeadLetter, DeadLetters

log = logging.getLogger(__name__)

_HOLD = 600.0  # longest that readings wait for the clock (s)


class Delivery:
    """One bridge at work: its subscription, its chain of stages, its state."""

    def __init__(
        self,
        bridge: Bridge[Any],
        settings: BridgeSettings,
        bus: Bus,
        dead_letters: DeadLetters,
        profiler: Profiler,
        clock: Clock,
    ) -> None:
        self.name = bridge.name
        self.settings = settings
        self.subscription: Subscription | None = None
        breaker = Breaker(settings.retry.breaker.failures, settings.retry.breaker.reset)
        self.pool: Pool[Any] = Pool(bridge.connect, settings.pool.max, breaker)
        self.retry = Retry(self.name, settings.retry, self._dead_letter)
        self.health = HealthStage(self.name, bus.emit)
        self.delivered_at = 0
        self._bus = bus
        self._dead_letters = dead_letters
        self._clock = clock
        self._started = time.monotonic()
        self._chain = compose(
            [ProfilingStage(profiler, f"deliver:{self.name}"), self.retry, self.health],
            partial(self._send, bridge),
        )

    async def subscribe(self) -> None:
        """Take this bridge's place in the journal; before the first reading is published."""
        self.subscription = await self._bus.subscribe(
            self.name, self.settings.devices, self.settings.start, self.settings.pool.max
        )

    async def run(self) -> None:
        """Deliver until cancelled."""
        assert self.subscription is not None, "subscribe first"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pool.warm(self.settings.pool.min))
                for lane in self.subscription.lanes:
                    group.create_task(self._lane(lane), name=f"{self.name}/{lane.number}")
        finally:
            await self.pool.close()

    async def _lane(self, lane: Lane) -> None:
        batching = self.settings.batch
        while True:
            batch = await lane.next_batch(batching.size, batching.wait)
            await self._clock_set(batch)
            await self._chain(batch)
            lane.done(batch)
            self.delivered_at = time.time_ns()

    async def _send(self, bridge: Bridge[Any], batch: Batch) -> None:
        try:
            await self.pool.send(bridge, batch)
        except BerrygateError:
            raise
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            # A driver's bug met by one batch must not stop the others: it is treated as poison.
            log.exception("bridge %s: the driver failed on a batch", self.name)
            raise Rejected(f"driver failed: {type(error).__name__}: {error}") from error

    async def _clock_set(self, batch: Batch) -> None:
        """Hold readings with a wrong time until the clock is set, if the bridge is to."""
        if self.settings.unsynced != "hold":
            return
        left = _HOLD - (time.monotonic() - self._started)
        if left > 0 and any(reading.flags & Flag.UNSYNCED for reading in batch.readings):
            await self._clock.wait(left)

    async def _dead_letter(self, readings: list[Reading], reason: str) -> None:
        now = time.time_ns()
        await self._dead_letters.keep(
            [
                DeadLetter(
                    stage="deliver",
                    name=self.name,
                    reason="rejected",
                    detail=reason,
                    device=reading.device,
                    reading=reading,
                    time=now,
                )
                for reading in readings
            ]
        )
        self._bus.emit(
            DeadLettered(kind="bridge", name=self.name, reason="rejected", count=len(readings))
        )

    @property
    def pending(self) -> int:
        """Readings journalled for this bridge and not finished."""
        return self.subscription.pending if self.subscription else 0

    def oldest(self) -> float:
        """Age (s) of the oldest reading in flight that is not finished; 0 when there is none."""
        if self.subscription is None:
            return 0.0
        times = [lane.oldest for lane in self.subscription.lanes if lane.in_flight]
        return max((time.time_ns() - min(times)) / 1e9, 0.0) if times else 0.0

    @property
    def state(self) -> str:
        """running, failing (it tries again) or denied (a person must act)."""
        if self.retry.denied:
            return "denied"
        return "failing" if self.retry.failing else "running"

    def as_dict(self) -> dict[str, Any]:
        """For status and the API."""
        ledger = self.subscription.ledger.as_dict(self.pending) if self.subscription else {}
        loop = asyncio.get_running_loop()
        waiting = self.retry.next_try - loop.time() if self.retry.failing else 0.0
        return {
            "name": self.name,
            "type": self.settings.type,
            "state": self.state,
            "breaker": self.pool.breaker.state.value,
            "next_try": round(max(waiting, 0.0), 1),
            "oldest": round(self.oldest(), 3),
            "delivered_at": self.delivered_at // 1_000_000 or None,
            "last_error": self.retry.failing or None,
            "failed": dict(self.health.failed),
            "pool": {"idle": self.pool.idle, "busy": self.pool.busy, "opened": self.pool.opened},
            **ledger,
            "ledger": ledger,
        }
