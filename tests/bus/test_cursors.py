"""Cursors: at least once, in order per device, whatever is done to bus and subscriptions."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from gateway.bus import keeper
from gateway.bus.block import Block
from gateway.bus.bus import Bus
from gateway.core.contracts import Reading
from gateway.core.ids import device_filter
from tests.support.faults import FULL
from tests.support.journal import SEGMENT, numbered, open_bus, options, publish, running, take

FILTERS = (("*",), ("d[1-3]",), ("d2", "d5"))
NAMES = ("a", "b")
SETTINGS = options(gather=0.001, segment=SEGMENT // 8)

publishes = st.tuples(st.just("publish"), st.integers(1, 700))
takes = st.tuples(st.just("take"), st.sampled_from(NAMES), st.integers(1, 900))
begun = st.tuples(st.just("begin"), st.sampled_from(NAMES))
retires = st.tuples(st.just("retire"), st.integers(1, 3))
restarts = st.tuples(st.just("restart"), st.booleans())
changes = st.tuples(
    st.just("change"), st.sampled_from(NAMES), st.integers(1, 4), st.sampled_from(FILTERS)
)
leaves = st.tuples(st.just("leave"), st.sampled_from(NAMES))
asides = st.tuples(st.just("aside"), st.sampled_from(NAMES), st.integers(0, 3))
drains = st.tuples(st.just("drain"), st.sampled_from(NAMES), st.integers(1, 400), st.booleans())


@dataclass
class Told:
    """What a subscription should know. filters: all that were in force; epochs: what it was given
    in each of its lives, in order; beside: the same of what lanes had set aside. flying, excused:
    what was fetched and never finished, and that before its subscription was changed: it may have
    been retired by then, and is counted anew."""

    lanes: int = 1
    patterns: tuple[str, ...] = ("*",)
    filters: list[tuple[str, ...]] = field(default_factory=list)
    epochs: list[list[int]] = field(default_factory=list)
    beside: list[list[int]] = field(default_factory=list)
    flying: set[int] = field(default_factory=set)
    excused: set[int] = field(default_factory=set)


class Model:
    """The simplest thing that could be right, beside the real one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0
        self.lives = 0
        self.told = {name: Told() for name in NAMES}
        self.bus: Bus
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        self.bus = await self._stack.enter_async_context(open_bus(self.directory, SETTINGS))
        for name in NAMES:
            await self.subscribe(name)
        await self._stack.enter_async_context(running(self.bus))

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def subscribe(self, name: str) -> None:
        told = self.told[name]
        told.filters.append(told.patterns)
        told.epochs.append([])
        told.beside.append([])
        await self.bus.subscribe(name, told.patterns, "earliest", told.lanes)

    async def publish(self, count: int) -> None:
        await publish(self.bus, numbered(self.count, self.count + count))
        self.count += count

    async def take(self, name: str, count: int) -> None:
        subscription = self.bus.subscriptions[name]
        if any(lane.in_flight for lane in subscription.lanes):
            return  # a lane has one batch in flight, and this one's is never finished
        until = min(subscription.reached + count, self.bus.head)
        self.told[name].epochs[-1] += await take(subscription, until)

    async def aside(self, name: str, number: int) -> None:
        """A lane leaves what it has not finished, and goes on with what is new."""
        lanes = self.bus.subscriptions[name].lanes
        lane = lanes[number % len(lanes)]
        flying = lane.in_flight
        if await lane.set_aside() and flying:
            self.told[name].flying.clear()  # it is in no hand any more

    async def drain(self, name: str, count: int, back: bool) -> None:
        """Of what was set aside; `back`: it is taken, put back, and taken again."""
        backlog = self.bus.subscriptions[name].backlog
        if not backlog:
            return
        task = asyncio.create_task(backlog.next_batch(count, 0.0))
        while backlog and not task.done():
            await asyncio.sleep(0)
        await asyncio.wait([task], timeout=0.1)
        if not task.done():
            task.cancel()  # nothing of what was left is wanted
            return
        batch = task.result()
        if back and await backlog.set_aside():
            batch = await backlog.next_batch(count, 0.0)
        batch.tally.delivered = len(batch)
        self.told[name].beside[-1] += [int(r.values["n"]) for r in batch.readings]
        backlog.done(batch)

    async def begin(self, name: str) -> None:
        """A batch that is fetched and never finished."""
        lane = self.bus.subscriptions[name].lanes[0]
        if not lane.in_flight:
            readings: list[Reading] = []
            await lane._take(readings, 10, lambda block: False)
            self.told[name].flying.update(int(r.values["n"]) for r in readings)

    async def retire(self, count: int) -> None:
        for _ in range(count):
            if len(self.bus.journal.segments) > 1:
                await self.bus.keeper._retire(self.bus.journal.segments[0])

    async def restart(self, killed: bool) -> None:
        if killed:  # what is in files now is what the next life finds
            self.lives += 1
            copy = self.directory.with_name(f"life-{self.lives}")
            shutil.copytree(self.directory, copy)
            await self.stop()
            self.directory = copy
        else:
            await self.stop()
        await self.start()

    async def change(self, name: str, lanes: int, patterns: tuple[str, ...]) -> None:
        told = self.told[name]
        told.excused |= told.flying
        told.lanes, told.patterns = lanes, patterns
        await self.subscribe(name)

    async def leave(self, name: str) -> None:
        self.told[name].excused |= self.told[name].flying
        self.bus.unsubscribe(name)
        await self.subscribe(name)

    async def balanced(self) -> None:
        await self.bus.keeper.look()
        for name, subscription in self.bus.subscriptions.items():
            assert subscription.ledger.difference(subscription.pending) == 0, name

    async def check(self) -> None:
        """Take all that is left; then everything must be explained."""
        for name, told in self.told.items():
            subscription = self.bus.subscriptions[name]
            for lane in subscription.lanes:
                assert lane.in_flight == 0
            await self.take(name, self.count + 1)
            while subscription.backlog:
                await self.drain(name, 300, False)
            await self.balanced()
            got = {n for epoch in (*told.epochs, *told.beside) for n in epoch}
            always = [device_filter(patterns) for patterns in told.filters]
            wanted = {n for n in range(self.count) if all(wants(f"d{n % 7}") for wants in always)}
            missing = len(wanted - got - told.excused)
            dropped = subscription.ledger.dropped["retention"]
            assert missing <= dropped, f"{name}: {missing} missing, {dropped} dropped"
            assert subscription.pending == 0
            assert all(any(wants(f"d{n % 7}") for wants in always) for n in got)
            for ordered, beside in zip(told.epochs, told.beside, strict=True):
                assert not set(ordered) & set(beside), f"{name}: twice in one life"
            for epoch in (*told.epochs, *told.beside):
                devices = defaultdict(list)
                for n in epoch:
                    devices[n % 7].append(n)
                for own in devices.values():
                    assert own == sorted(set(own)), f"{name}: out of order, or twice in one life"


async def play(directory: Path, steps: list[tuple]) -> None:
    model = Model(directory / "journal")
    await model.start()
    try:
        for name, *arguments in steps:
            await getattr(model, name)(*arguments)
            await model.balanced()
        await model.restart(killed=False)
        await model.check()
        await model.balanced()
    finally:
        await model.stop()


@settings(
    max_examples=300 if FULL else 25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    st.lists(
        st.one_of(
            publishes,
            publishes,
            takes,
            takes,
            begun,
            retires,
            restarts,
            changes,
            leaves,
            asides,
            drains,
        ),
        max_size=15,
    )
)
@pytest.mark.timeout(900)
def test_a_random_life_loses_nothing_and_keeps_the_order(steps: list[tuple]) -> None:
    note(f"steps: {steps}")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(Path(directory), steps))


async def test_a_batch_that_nobody_waits_for_any_more_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bus(tmp_path) as bus, running(bus):
        subscription = await bus.subscribe("a")
        await publish(bus, numbered(0, 10))
        await publish(bus, numbered(10, 20))
        source, lane, gate = subscription.source, subscription.lanes[0], asyncio.Event()

        async def slowly(sequence: int) -> Block | None:
            if sequence > 1:
                await gate.wait()
            return await block(sequence)

        block = source.block
        monkeypatch.setattr(source, "block", slowly)
        task = asyncio.create_task(lane.next_batch(50, 0.0))
        async with asyncio.timeout(10):
            while lane.fetched == 1:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gate.set()
        assert await take(subscription, bus.head) == list(range(20))
        assert subscription.ledger.difference(subscription.pending) == 0


async def test_a_removed_cursor_pins_nothing_and_goes_after_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = options(max_size=3 * SEGMENT)
    async with open_bus(tmp_path, kept) as bus:
        await bus.subscribe("gone")
        async with running(bus):
            await publish(bus, numbered(0, 10))
    async with open_bus(tmp_path, kept) as bus, running(bus):  # no longer configured
        for start in range(10, 30_010, 3_000):
            await publish(bus, numbered(start, start + 3_000))
            await bus.keeper.look()
        assert bus.journal.start > 1
        assert len(bus.journal.segments) <= 3
    async with open_bus(tmp_path, kept) as bus:
        assert "gone" in bus._recovered.cursors  # still there, for whoever puts it back
        back = await bus.subscribe("gone")
        async with running(bus):
            await bus.keeper.look()
            got = await take(back, bus.head)
            assert len(got) + sum(back.ledger.dropped.values()) == back.ledger.matched
            assert back.ledger.difference(back.pending) == 0
    async with open_bus(tmp_path, kept) as bus, running(bus):
        await bus.keeper.look()
        monkeypatch.setattr(keeper, "_FORGET", 0)
        await bus.keeper.look()
    async with open_bus(tmp_path, kept) as bus:
        assert "gone" not in bus._recovered.cursors


async def test_a_renamed_bridge_begins_at_its_start(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        await bus.subscribe("old")
        async with running(bus):
            await publish(bus, numbered(0, 10))
    async with open_bus(tmp_path) as bus:
        now = await bus.subscribe("new")
        earliest = await bus.subscribe("newer", start="earliest")
        async with running(bus):
            await publish(bus, numbered(10, 15))
            assert await take(now, bus.head) == list(range(10, 15))
            assert await take(earliest, bus.head) == list(range(15))
