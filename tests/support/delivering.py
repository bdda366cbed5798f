"""A bridge at work on a real bus, without the rest of the house."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.bus.bus import Bus
from gateway.bus.records import Stamp
from gateway.core.contracts import Bridge, Reading
from gateway.core.settings import BridgeSettings
from gateway.io.sqlite.database import Database
from gateway.runtime.clock import Clock
from gateway.runtime.delivery import Delivery
from gateway.stages.profiling import Profiler
from gateway.store.dead_letters import DeadLetters
from tests.support.journal import open_bus, running

QUICK = {
    "batch": {"size": 100, "wait": "20ms"},
    "retry": {"base": "10ms", "max": "100ms", "breaker": {"reset": "100ms"}},
}


def now_numbered(start: int, stop: int, devices: int = 5) -> list[Reading]:
    """Readings that carry their number, a millisecond apart, from a minute ago on."""
    since = time.time_ns() - 60 * 10**9
    return [
        Reading(f"d{n % devices}", since + n * 10**6, {"n": float(n)}) for n in range(start, stop)
    ]


@dataclass
class Work:
    """A bus and what delivers from it."""

    bus: Bus
    delivery: Delivery
    letters: DeadLetters

    @property
    def ledger(self) -> dict[str, Any]:
        """The bridge's ledger; its difference is looked at by every test that asks."""
        found: dict[str, Any] = self.delivery.as_dict()["ledger"]
        assert found["difference"] == 0, found
        return found

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Wait until `condition` holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Wait until nothing is left to be delivered."""
        await self.until(lambda: self.delivery.pending == 0)


@asynccontextmanager
async def delivering(
    directory: Path,
    bridge: Bridge[Any],
    others: Mapping[str, Delivery] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Work]:
    """`bridge` at work on the journal and the dead letters in `directory`. others: bridges that may
    stand in for it."""
    state = Database(directory / "state.db", files("gateway.store") / "migrations" / "state")
    letters = DeadLetters(state)
    given = BridgeSettings.model_validate({"type": "test", **QUICK, **settings})
    try:
        async with open_bus(directory / "journal") as bus:
            profiler = Profiler(CollectorRegistry())
            clock = Clock("trust", bus.journal.times, Stamp(), directory)
            delivery = Delivery(bridge, given, bus, letters, profiler, clock, others=others.get)
            await delivery.subscribe()
            async with running(bus):
                task = asyncio.create_task(delivery.run())
                try:
                    yield Work(bus, delivery, letters)
                finally:
                    task.cancel()
                    await asyncio.wait([task])
                    if not task.cancelled() and (error := task.exception()):
                        raise error
    finally:
        await asyncio.to_thread(state.close)
