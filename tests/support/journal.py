"""A bus on a journal in a directory, for tests."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.bus.bus import Bus
from gateway.bus.gather import Entry
from gateway.bus.journal import Journal
from gateway.bus.kept import JournalOptions
from gateway.bus.records import Stamp
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Reading

SEGMENT = 1 << 16


def stamp() -> Stamp:
    """Now, in one boot."""
    return Stamp("boot", time.monotonic_ns(), time.time_ns(), True)


def options(**changes: float) -> JournalOptions:
    """Small segments and a short gather."""
    return JournalOptions(**{"gather": 0.01, "segment": SEGMENT, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def open_bus(directory: Path, settings: JournalOptions | None = None) -> AsyncIterator[Bus]:
    """A bus that is stopped in good order at the end. Subscribe, then `start`."""
    journal = Journal(directory, settings or options(), stamp)
    bus = Bus(journal, journal.open())
    try:
        yield bus
    finally:
        await asyncio.to_thread(journal.stop)


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[None]:
    """The bus at work."""
    task = asyncio.create_task(bus.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


async def publish(bus: Bus, readings: Sequence[Reading]) -> None:
    """Publish and wait for the commit."""
    committed = asyncio.get_running_loop().create_future()
    bus.publish(Entry(list(readings), size=50, done=lambda: committed.set_result(None)))
    await asyncio.wait_for(committed, 10)


def numbered(start: int, stop: int, devices: int = 7) -> list[Reading]:
    """Readings that carry their own number, and noise, so that they do not compress to nothing."""
    return [
        Reading(
            f"d{n % devices}",
            1_700_000_000_000_000_000 + n * 10**6,
            {"n": float(n), "noise": random.random()},
        )
        for n in range(start, stop)
    ]


async def numbers(bus: Bus, position: int = 0) -> list[int]:
    """The numbers of every reading in the journal from a position on."""
    return [
        int(reading.values["n"])
        async for block in bus.blocks(position, follow=False)
        for reading in block.readings
    ]


async def take(subscription: Subscription, until: int) -> list[int]:
    """The numbers of what every lane delivers below sequence `until`, lane by lane."""
    got: list[int] = []
    for lane in subscription.lanes:
        while lane.fetched < until:
            task = asyncio.create_task(lane.next_batch(50, 0.0))
            async with asyncio.timeout(10):
                while not task.done() and (lane.fetched < until or lane.in_flight):
                    await asyncio.sleep(0)
            if not task.done():
                task.cancel()  # nothing of what was left is this lane's
                break
            batch = task.result()
            batch.tally.delivered = len(batch)
            got.extend(int(r.values["n"]) for r in batch.readings)
            lane.done(batch)
    return got
