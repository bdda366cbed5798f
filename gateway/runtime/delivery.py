"""The pump from the bus to a bridge: what belongs to one bridge, what an operator asks of it, and
what others see of it. Its lanes work in gateway.runtime.lanes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.bus.backlog import Backlog
from gateway.bus.bus import Bus
from gateway.bus.lane import Lane
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Batch, Bridge, Flag, Reading, Selective, Send, Stage
from gateway.core.errors import Conflict, Unavailable
from gateway.core.events import DeadLettered
from gateway.core.settings import BridgeSettings
from gateway.runtime.again import Again, Retried, shown
from gateway.runtime.beside import Beside
from gateway.runtime.clock import Clock
from gateway.runtime.lanes import Lanes
from gateway.stages import compose
from gateway.stages.backoff import Place
from gateway.stages.classify import classified
from gateway.stages.failover import Failover
from gateway.stages.fresh_first import FreshFirst
from gateway.stages.health import HealthStage
from gateway.stages.next_endpoint import NextEndpoint
from gateway.stages.pool import pool_of
from gateway.stages.profiling import Profiler, ProfilingStage
from gateway.stages.retry import Retry
from gateway.stages.upkeep import Upkeep
from gateway.store.dead_letters import DeadLetter, DeadLetters

_DURABLE = 5.0  # longest that an answer waits for the disk (s)
_LOOK = 0.02  # s


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
        place: Place | None = None,
        others: Callable[[str], "Delivery | None"] = lambda name: None,
    ) -> None:
        self.name = bridge.name
        self.settings = settings
        self.subscription: Subscription | None = None
        self.pool = pool_of(bridge, settings)
        self.upkeep = Upkeep(self.name, self.pool)
        self.retry = Retry(
            self.name,
            settings.retry,
            self._dead_letter,
            place,
            self._stop,
            lambda: self.failover.why,
        )
        self.failover = Failover(self.name, settings.retry.failover_after, self._elsewhere)
        self.stood_in = 0
        self.health = HealthStage(self.name, bus.emit)
        self._bus = bus
        self._dead_letters = dead_letters
        self._others = others
        self._flowing = asyncio.Event()
        self._own = send = partial(self._send, bridge)
        self._beside = Beside(settings, bus, self._is_away)
        self.profiling = ProfilingStage(profiler, f"deliver:{self.name}", settings.batch.size)
        self._leaves_out = bridge.leaves_out if isinstance(bridge, Selective) else Flag.NONE
        self._lanes = Lanes(settings, clock, self._flowing, self._chain, self._leaves_out)
        self._again = Again(
            self.name, settings, bus, self.pool, send, self._dead_letter, bus.emit,
            self._leaves_out,
        )  # fmt: skip

    def _chain(self, reader: Lane | Backlog) -> Send:
        """The stages that what a reader takes goes through."""
        stages: list[Stage] = [self.profiling, self.retry]
        if isinstance(reader, Backlog):
            stages.append(FreshFirst(reader, partial(self._beside.tried, self._subscribed())))
        elif self._beside.wanted:
            stages.append(FreshFirst(reader, partial(self._beside.old, reader)))
        stages += [self.failover] if self.settings.retry.failover else []
        return compose([*stages, NextEndpoint(self.pool), self.health], self._own)

    async def subscribe(self) -> None:
        """Take this bridge's place in the journal; before the first reading is published."""
        self.subscription = await self._bus.subscribe(
            self.name, self.settings.devices, self.settings.start, self.settings.pool.max
        )
        self.subscription.backlog.turn = partial(self._beside.turn, self.subscription)
        if not self.subscription.paused:
            self._flowing.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        assert self.subscription is not None, "subscribe first"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.upkeep.run())
                for lane in self.subscription.lanes:
                    group.create_task(self._lanes.work(lane), name=f"{self.name}/{lane.number}")
                backlog = self._lanes.work(self.subscription.backlog)
                group.create_task(backlog, name=f"{self.name}/backlog")
                group.create_task(self._again.run(self.subscription))
        finally:
            await self.pool.close()

    async def finish(self, within: float) -> None:
        """Begin nothing more, and let what is on its way arrive, for at most `within` seconds:
        cancelled in between, it would be sent again."""
        self._flowing.clear()
        lanes, retry = self._lanes, self.retry
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while lanes.at_work and not retry.failing:  # noqa: ASYNC110 - lanes end singly
                    await asyncio.sleep(_LOOK)

    def _is_away(self) -> bool:
        """Whether nothing goes out, neither here nor through the bridge that stands in."""
        return bool(self.retry.failing) and not self.failover.why

    async def _elsewhere(self, batch: Batch) -> None:
        """Send through the bridge that stands in for this one. Raises Unavailable where there is
        none at the moment, and what it raises."""
        other = self._others(self.settings.retry.failover or "")
        if other is None:
            raise Unavailable(f"no bridge {self.settings.retry.failover}")
        await other.stand_in(batch)

    async def stand_in(self, batch: Batch) -> None:
        """Send a batch of another bridge; counted apart (stood_in). Raises Unavailable while this
        one is paused or stopped, and what its server raises."""
        if not self._flowing.is_set():
            raise Unavailable(f"bridge {self.name} is {self.state}")
        if any(reading.flags & self._leaves_out.value for reading in batch.readings):
            raise Unavailable(f"bridge {self.name} must not be given what was forwarded")
        await self._own(batch)
        self.stood_in += len(batch)

    async def _send(self, bridge: Bridge[Any], batch: Batch) -> None:
        await self._flowing.wait()  # also between the attempts of a batch
        try:
            await self.pool.send(bridge, batch)
        except Exception as error:
            # A driver's bug met by one batch must not stop the others.
            found = classified(self.name, error)
            if found is error:
                raise
            raise found from error

    def _stop(self) -> None:
        """Send nothing more until a person resumes the bridge, or the gateway is started again:
        what was wrong may have been put right then."""
        self._flowing.clear()

    async def _dead_letter(self, readings: list[Reading], text: str, reason: str) -> None:
        now = time.time_ns()
        await self._dead_letters.keep(
            [
                DeadLetter(
                    stage="deliver",
                    name=self.name,
                    reason=reason,
                    detail=text,
                    device=reading.device,
                    reading=reading,
                    time=now,
                )
                for reading in readings
            ]
        )
        self._bus.emit(
            DeadLettered(kind="bridge", name=self.name, reason=reason, count=len(readings))
        )

    # -- what an operator asks for ----------------------------------------------------------

    async def pause(self) -> None:
        """Send nothing from now on, also after a restart; what is on its way is finished. Nothing
        is lost but by the journal's retention."""
        self._flowing.clear()
        self.retry.troubles.aided()
        await self._set_paused(True)

    async def resume(self) -> None:
        """Send again; and if the bridge is failing, try now."""
        await self._set_paused(False)
        self._flowing.set()
        self.pool.hurry()
        self.retry.hurry()

    async def _set_paused(self, paused: bool) -> None:
        subscription = self._subscribed()
        subscription.paused = paused
        subscription.moved()
        await self._durable()

    async def replay(self, start: int, end: int, devices: str) -> dict[str, Any]:
        """Begin to send [start, end), ns, again; how it stands. Raises Conflict, ValueError."""
        self._refuse_while_paused()
        await self._again.replay(self._subscribed(), start, end, devices)
        await self._durable()
        return self._replay() or {}

    async def stop_replay(self) -> dict[str, Any]:
        """End the replay; how far it had come. Raises Conflict."""
        self._again.stop(self._subscribed())
        await self._durable()
        return self._replay() or {}

    async def retry_letters(self, letters: Sequence[DeadLetter]) -> Retried:
        """Send dead letters of this bridge once more and forget those that are taken. Raises
        Conflict while the bridge is paused, Unavailable while its sink is away."""
        self._refuse_while_paused()
        if self.retry.failing:
            raise Unavailable(
                f"bridge {self.name} is failing ({self.retry.failing}); its dead letters stay",
                fix="try again once it runs",
            )
        readings = [(letter.id, letter.reading) for letter in letters if letter.reading]
        found = await self._again.retry(self._subscribed(), readings)
        await self._dead_letters.delete(found.taken)
        await self._dead_letters.again(found.kept)
        return found

    def _refuse_while_paused(self) -> None:
        if self._subscribed().paused or self.retry.stopped:
            raise Conflict(
                f"bridge {self.name} is {self.state}", fix=f"berrygate bridges resume {self.name}"
            )

    async def _durable(self) -> None:
        try:
            async with asyncio.timeout(_DURABLE):
                await self._bus.settle()
        except TimeoutError as error:
            raise Unavailable(
                "done, but the disk does not take it: a restart would not know of it"
            ) from error

    def _subscribed(self) -> Subscription:
        assert self.subscription is not None, "subscribe first"
        return self.subscription

    def _replay(self) -> dict[str, Any] | None:
        """The replay that runs, or the last one."""
        record = self.subscription.replay if self.subscription else None
        return None if record is None else shown(record)

    # -- what others see --------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Readings journalled for this bridge and not finished."""
        return self.subscription.pending if self.subscription else 0

    def oldest(self) -> float:
        """Age (s) of the oldest reading in flight that is not finished; 0 when there is none."""
        if self.subscription is None:
            return 0.0
        times = [lane.oldest for lane in self.subscription.lanes if lane.in_flight]
        times += [self.subscription.backlog.oldest] if self.subscription.backlog else []
        return max((time.time_ns() - min(times)) / 1e9, 0.0) if times else 0.0

    def _drops_in(self) -> int | None:
        left = self.subscription.drops_in if self.subscription else None
        return None if left is None else round(left)

    @property
    def state(self) -> str:
        """running, paused (by a person), failing (it tries again), denied (a person must act; it
        tries again slowly), stopped (a person must act and resume it) or failed over (another
        bridge stands in)."""
        if self.subscription is not None and self.subscription.paused:
            return "paused"
        if self.retry.stopped:
            return "stopped"
        if self.failover.why:
            return "failed over"
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
            "drops_in": self._drops_in(),
            "set_aside": bool(self.subscription and self.subscription.backlog),
            "delivered_at": self._lanes.delivered_at // 1_000_000 or None,
            "last_error": self.retry.failing or None,
            "stood_in": self.stood_in,
            "failed": dict(self.health.failed),
            "troubles": self.retry.troubles.as_dict(),
            "pool": self.pool.as_dict() | {"wanted": self.upkeep.wanted},
            "replay": self._replay(),
            **ledger,
            "ledger": ledger,
        }
