"""What lanes set aside is read once, counted once, and never what was finished; see also
test_cursors, where it is part of a random life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.bus.backlog import Backlog
from gateway.bus.bus import Bus
from gateway.bus.kept import JournalOptions
from gateway.bus.lane import Lane
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Batch
from tests.support.journal import SEGMENT, numbered, open_bus, options, publish, running, take

SMALL = options(segment=SEGMENT // 8)


@asynccontextmanager
async def subscribed(
    directory: Path, lanes: int = 1, settings: JournalOptions | None = None
) -> AsyncIterator[tuple[Bus, Subscription]]:
    """A bus at work, and one subscription."""
    async with open_bus(directory, settings) as bus:
        found = await bus.subscribe("a", lanes=lanes)
        async with running(bus):
            yield bus, found


def finish(lane: Lane | Backlog, batch: Batch) -> list[int]:
    """Deliver all of a batch; its numbers."""
    batch.tally.delivered = len(batch)
    lane.done(batch)
    return [int(reading.values["n"]) for reading in batch.readings]


async def deliver(lane: Lane | Backlog, most: int) -> list[int]:
    """Take a batch and deliver it; its numbers."""
    async with asyncio.timeout(10):
        batch = await lane.next_batch(most, 0.0)
    return finish(lane, batch)


async def drain(subscription: Subscription) -> list[int]:
    """The numbers of all that was set aside, as it comes."""
    got: list[int] = []
    while subscription.backlog:
        got += await deliver(subscription.backlog, 30)
    return got


def explained(subscription: Subscription) -> bool:
    return subscription.pending == 0 and subscription.ledger.difference(0) == 0


async def retire(bus: Bus, leave: int = 1) -> None:
    while len(bus.journal.segments) > leave:
        await bus.keeper._retire(bus.journal.segments[0])


async def test_in_order_beside_what_is_new(tmp_path: Path) -> None:
    async with subscribed(tmp_path, lanes=3) as (bus, found):
        await publish(bus, numbered(0, 200))
        batch = await found.lanes[0].next_batch(10, 0.0)
        assert len(batch) == 10
        for lane in found.lanes:
            assert await lane.set_aside()
            assert not await lane.set_aside()  # nothing new
        assert (found.pending, found.ledger.fetched) == (200, 0)
        await publish(bus, numbered(200, 250))
        assert sorted(await take(found, bus.head)) == list(range(200, 250))
        assert found.pending == 200
        assert await drain(found) == list(range(200))
        assert explained(found)


async def test_other_lanes_take_it_and_nothing_that_was_finished(tmp_path: Path) -> None:
    async with subscribed(tmp_path, lanes=2) as (bus, first):
        await publish(bus, numbered(0, 200))
        done = await deliver(first.lanes[1], 1_000)
        assert await first.lanes[0].set_aside()
        await publish(bus, numbered(200, 210))
        second = await bus.subscribe("a", lanes=3)
        await publish(bus, numbered(210, 220))
        for lane in second.lanes:
            assert await lane.set_aside()
        await publish(bus, numbered(220, 230))
        third = await bus.subscribe("a", lanes=1)
        got = [*await take(third, bus.head), *await drain(third)]
        assert sorted(got) == sorted(set(range(230)) - set(done))
        assert explained(third)


async def test_lanes_that_were_ahead_are_not_repeated(tmp_path: Path) -> None:
    """Lanes of another number begin where the last one was; so does what they set aside, without
    what the others had finished from there on."""
    async with subscribed(tmp_path, lanes=2) as (bus, first):
        await publish(bus, numbered(0, 200))
        done = await deliver(first.lanes[1], 1_000)
        second = await bus.subscribe("a", lanes=3)
        await publish(bus, numbered(200, 201))
        for lane in second.lanes:
            assert await lane.set_aside()
        got = await drain(second)
        assert set(got) == set(range(201)) - set(done)
        assert explained(second)


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async with subscribed(tmp_path, lanes=2) as (bus, found):
        await publish(bus, numbered(0, 100))
        for lane in found.lanes:
            await lane.set_aside()
        await deliver(found.backlog, 30)
        await found.backlog.next_batch(30, 0.0)  # and this one is never finished
    async with subscribed(tmp_path, lanes=2) as (bus, found):
        assert found.pending == 70
        assert await drain(found) == list(range(30, 100))
        assert explained(found)


async def test_retention_takes_what_nobody_has_read(tmp_path: Path) -> None:
    async with subscribed(tmp_path, lanes=2, settings=SMALL) as (bus, found):
        await publish(bus, numbered(0, 50))
        for _ in range(6):
            await publish(bus, numbered(50, 750))
        for lane in found.lanes:
            assert await lane.set_aside()
        held = await found.backlog.next_batch(10, 0.0)
        await retire(bus)
        gone = found.ledger.dropped["retention"]
        assert gone > 0  # told at once, not when somebody comes to it
        assert not await found.backlog.set_aside()  # it is in the journal no more
        finish(found.backlog, held)
        rest = await drain(found)
        assert len(held) + gone + len(rest) == 50 + 6 * 700
        assert found.ledger.dropped["retention"] == gone
        assert explained(found)


async def test_what_is_only_in_hand_is_not_set_aside(tmp_path: Path) -> None:
    async with subscribed(tmp_path, settings=SMALL) as (bus, found):
        for _ in range(6):
            await publish(bus, numbered(0, 700))
        (lane,) = found.lanes
        batch = await lane.next_batch(10, 0.0)
        await retire(bus)
        assert not await lane.set_aside()
        finish(lane, batch)
        assert await lane.set_aside()
        await drain(found)
        assert explained(found)


async def test_after_too_many_a_lane_waits(tmp_path: Path) -> None:
    async with subscribed(tmp_path) as (bus, found):
        (lane,) = found.lanes
        set_aside = []
        for round_ in range(10):
            await publish(bus, numbered(10 * round_, 10 * round_ + 5))
            set_aside.append(await lane.set_aside())
            await publish(bus, numbered(10 * round_ + 5, 10 * round_ + 10))
            await deliver(lane, 3)
        assert set_aside == [*[True] * 8, False, False]
        await drain(found)
        assert await lane.set_aside()
        assert found.ledger.difference(found.pending) == 0
