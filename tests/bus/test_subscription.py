"""Durable subscriptions: each reading once per lane set, over restarts and changed settings."""

import asyncio
from pathlib import Path

from gateway.bus.bus import Bus
from gateway.bus.subscription import Subscription
from tests.support.journal import numbered, open_bus, options, publish, running


async def drain(subscription: Subscription, limit: int | None = None) -> list[int]:
    """What the lanes deliver until nothing is left, or `limit` batches each."""
    got: list[int] = []

    async def lane(number: int) -> None:
        batches = 0
        while limit is None or batches < limit:
            batch = await subscription.lanes[number].next_batch(16, 0.01)
            got.extend(int(r.values["n"]) for r in batch.readings)
            batch.tally.delivered = len(batch)
            subscription.lanes[number].done(batch)
            batches += 1

    tasks = [asyncio.create_task(lane(n)) for n in range(len(subscription.lanes))]
    if limit is None:
        async with asyncio.timeout(10):
            while subscription.pending:
                await asyncio.sleep(0.01)
    else:
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return got


async def balance(bus: Bus, name: str) -> int:
    subscription = bus.subscriptions[name]
    return subscription.ledger.difference(subscription.pending)


async def test_each_reading_once_in_order_per_device(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        subscription = await bus.subscribe("a", lanes=3)
        async with running(bus):
            await publish(bus, numbered(0, 500))
            got = await drain(subscription)
    assert sorted(got) == list(range(500))
    for device in range(7):
        own = [n for n in got if n % 7 == device]
        assert own == sorted(own)


async def test_resumes_and_may_change_its_lanes(tmp_path: Path) -> None:
    got: list[int] = []
    for lanes in (4, 4, 2, 3, 1, 4):
        async with open_bus(tmp_path) as bus:
            subscription = await bus.subscribe("a", start="earliest", lanes=lanes)
            async with running(bus):
                first = bus.head - 1
                await publish(bus, numbered(first, first + 300))
                got += await drain(subscription, limit=1)
                assert await balance(bus, "a") == 0
    async with open_bus(tmp_path) as bus:
        subscription = await bus.subscribe("a", lanes=4)
        async with running(bus):
            got += await drain(subscription)
            assert await balance(bus, "a") == 0
            assert subscription.ledger.delivered == 1800
    assert sorted(got) == list(range(1800))


async def test_a_lane_that_waits_holds_nobody_back(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        subscription = await bus.subscribe("a", lanes=2)
        async with running(bus):
            stuck, free = subscription.lanes
            await publish(bus, numbered(0, 100))
            await stuck.next_batch(5, 0.01)
            for start in range(100, 30_000, 2_000):
                await publish(bus, numbered(start, start + 2_000))
            free_end = 0
            while free_end < bus.head:
                batch = await free.next_batch(5_000, 0.01)
                free.done(batch)
                free_end = batch.end
            assert stuck.finished < 10
            assert stuck.in_flight == 5


async def test_new_subscription_begins_where_it_is_told(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 50))
    async with open_bus(tmp_path) as bus:
        now = await bus.subscribe("now")
        earliest = await bus.subscribe("earliest", start="earliest")
        ago = await bus.subscribe("ago", start="-1h")
        some = await bus.subscribe("some", ("d1", "d2"), start="earliest")
        async with running(bus):
            await publish(bus, numbered(50, 60))
            assert await drain(now) == list(range(50, 60))
            assert await drain(earliest) == list(range(60))
            assert await drain(ago) == list(range(60))
            assert await drain(some) == [n for n in range(60) if n % 7 in (1, 2)]
            for name in ("now", "earliest", "ago", "some"):
                assert await balance(bus, name) == 0


async def test_a_changed_filter_is_counted_anew(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        await bus.subscribe("a", ("d1",), start="earliest")
        async with running(bus):
            await publish(bus, numbered(0, 70))
    async with open_bus(tmp_path) as bus:
        subscription = await bus.subscribe("a", ("d[12]",))
        async with running(bus):
            assert subscription.pending == 20
            assert len(await drain(subscription)) == 20
            assert await balance(bus, "a") == 0


async def test_what_retention_drops_is_counted_exactly(tmp_path: Path) -> None:
    async with open_bus(tmp_path, options(max_size=3 << 16)) as bus:
        slow = await bus.subscribe("slow", ("d1", "d3"), lanes=2)
        quick = await bus.subscribe("quick")
        async with running(bus):
            await publish(bus, numbered(0, 50))
            got = await drain(slow)
            for start in range(50, 40_050, 2_000):
                await publish(bus, numbered(start, start + 2_000))
                await drain(quick)
            await bus.keeper.look()
            dropped = slow.ledger.dropped["retention"]
            assert dropped > 0
            got += await drain(slow)
            wanted = [n for n in range(40_050) if n % 7 in (1, 3)]
            assert len(got) + dropped == len(wanted)
            assert set(got) <= set(wanted)
            assert await balance(bus, "slow") == 0
            assert quick.ledger.dropped["retention"] == 0


async def test_what_damage_takes_is_counted_as_dropped(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        await bus.subscribe("a")
        await bus.subscribe("some", ("d1", "d2"), lanes=2)
        async with running(bus):
            for start in range(0, 80, 20):
                await publish(bus, numbered(start, start + 20))
        second = bus.journal.segments[0].offsets[1]
        path = bus.journal.segments[0].path
    with path.open("r+b") as file:
        file.seek(second + 40)
        file.write(b"\xff\xff\xff\xff")
    async with open_bus(tmp_path) as bus:
        every = await bus.subscribe("a")
        some = await bus.subscribe("some", ("d1", "d2"), lanes=2)
        async with running(bus):
            for subscription in (every, some):
                got = await drain(subscription)
                assert set(got).isdisjoint(range(20, 40))
                assert await balance(bus, subscription.name) == 0
        assert every.ledger.dropped["damaged"] == 20
        assert some.ledger.dropped["damaged"] == sum(n % 7 in (1, 2) for n in range(20, 40))


async def test_a_subscription_that_changes_while_it_runs_keeps_its_place(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        first = await bus.subscribe("a", ("d1", "d2"), lanes=2)
        async with running(bus):
            await publish(bus, numbered(0, 70))
            got = await drain(first)
            await publish(bus, numbered(70, 140))
            last = asyncio.create_task(publish(bus, numbered(140, 700)))  # on its way meanwhile
            await asyncio.sleep(0)
            second = await bus.subscribe("a", ("d2", "d3", "d4"), lanes=3)
            await publish(bus, numbered(700, 770))
            await last
            got_since = await drain(second)
            assert sorted(got) == [n for n in range(70) if n % 7 in (1, 2)]
            assert sorted(got_since) == [n for n in range(70, 770) if n % 7 in (2, 3, 4)]
            assert await balance(bus, "a") == 0
            assert second.ledger.matched == len(got) + len(got_since)
    async with open_bus(tmp_path) as bus:
        again = await bus.subscribe("a", ("d2", "d3", "d4"), lanes=3)
        async with running(bus):
            assert await balance(bus, "a") == 0
            assert again.ledger.matched == len(got) + len(got_since)
            assert again.pending == 0


async def test_what_came_while_a_subscription_was_away_is_counted_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with open_bus(tmp_path) as bus:
        first = await bus.subscribe("a")
        async with running(bus):
            await publish(bus, numbered(0, 70))
            assert len(await drain(first)) == 70
            late = asyncio.create_task(publish(bus, numbered(70, 140)))
            await asyncio.sleep(0)
            bus.unsubscribe("a")
            await late
            await publish(bus, numbered(140, 210))
            second = await bus.subscribe("a")
            assert second.pending == 140
            assert len(await drain(second)) == 140
            assert await balance(bus, "a") == 0
    async with open_bus(tmp_path) as bus:
        again = await bus.subscribe("a")
        async with running(bus):
            assert again.ledger.matched == 210
            assert await balance(bus, "a") == 0
