"""Times that were told by a wrong clock, read rightly; and what retention makes of jumps."""

import asyncio
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.block import Block
from gateway.bus.bus import Bus
from gateway.bus.journal import Journal
from gateway.bus.records import Meta, Stamp
from gateway.bus.times import Boot, Times
from gateway.core.contracts import Flag, Reading
from tests.support.journal import numbered, options, publish, running

SECOND = 10**9
HOUR = 3_600 * SECOND
TRUE = 1_795_000_000 * SECOND  # wall clock minus CLOCK_BOOTTIME
UNSYNCED = Flag.UNSYNCED.value


def block(boot: str, base: int, *times: int) -> Block:
    readings = [Reading("d", base + t, {"n": 1.0}, UNSYNCED) for t in times]
    readings.append(Reading("d", 12345, {"n": 1.0}))
    stamp = Stamp(boot, times[-1], base + times[-1], False, base)
    return Block(1, readings, Meta(stamp))


def test_marked_times_are_put_right_and_others_left_alone() -> None:
    times, base = Times(), 777 * SECOND
    raw = block("a", base, 5 * SECOND, 6 * SECOND)
    times.learn(raw.meta.stamp)
    assert times.resolved(raw) is raw
    assert not raw.settled
    times.boots["a"].note(TRUE)
    found = times.resolved(raw)
    assert found.settled
    assert [(r.time, r.flags) for r in found.readings] == [
        (TRUE + 5 * SECOND, 0), (TRUE + 6 * SECOND, 0), (12345, 0),
    ]  # fmt: skip
    assert raw.readings[0].time == base + 5 * SECOND, "the block itself is being written"


def test_a_boot_that_is_not_remembered_stays_marked_and_holds_nobody() -> None:
    raw = block("gone", 0, 5)
    found = Times().resolved(raw)
    assert found.settled
    assert found.readings[0].flags == UNSYNCED


boots = st.lists(
    st.tuples(
        st.booleans(),  # known
        st.integers(1, HOUR),  # first
        st.integers(0, 100 * HOUR),  # how long it was up
        st.integers(-TRUE, TRUE),  # how wrong its own clock was
        st.integers(0, 100 * HOUR),  # how long the machine was off before
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@given(boots)
def test_guessed_boots_lie_in_order_between_what_is_known(
    drawn: list[tuple[bool, int, int, int, int]],
) -> None:
    times, now, truth = Times(), TRUE, {}
    for number, (known, first, up, wrong, off) in enumerate([*drawn, (True, 5, 0, 0, 1)]):
        now += off + first
        boot = Boot(str(number), first, first + up, base=now - first + wrong)
        truth[boot.id] = now - first
        if known:
            boot.note(now - first)
        now += up
        times.boots[boot.id] = boot
    guessed = {boot.id for boot in times.estimate()}
    assert guessed == {str(n) for n, entry in enumerate(drawn) if not entry[0]}
    spans = [(b.first + (b.offset or 0), b.last + (b.offset or 0)) for b in times.boots.values()]
    begun = next((n for n, entry in enumerate(drawn) if entry[0]), len(drawn))
    for (_, end), (begin, _) in list(pairwise(spans))[begun:]:
        assert end <= begin
    for boot in times.boots.values():
        assert boot.offset is not None
        assert boot.estimated == (boot.id in guessed)
        if not boot.estimated:
            assert boot.offset == truth[boot.id]


async def grown(directory: Path, now: list[Stamp]) -> tuple[Journal, Bus]:
    """A journal that is stamped with what `now` holds."""
    journal = Journal(directory, options(max_age=6 * 3600.0), lambda: now[0])
    recovered = journal.open()
    return journal, Bus(journal, recovered)


async def test_jumps_let_nothing_young_expire_in_a_boot_or_across(tmp_path: Path) -> None:
    """Retention by the wall clock would empty the journal when it jumps ahead."""
    now = [Stamp("one", HOUR, TRUE + HOUR)]
    journal, bus = await grown(tmp_path, now)
    async with running(bus):
        for number in range(75):
            await publish(bus, numbered(number * 100, number * 100 + 100))
        assert len(journal.segments) > 1
        now[0] = Stamp("one", HOUR + 1, TRUE + 9_000 * HOUR)  # jumped ahead
        assert journal.expired() is None
        now[0] = Stamp("two", HOUR, TRUE + 9_000 * HOUR)  # and booted
        journal.times.learn(now[0])
        journal.times.least = TRUE + 2 * HOUR
        assert journal.expired() is None
        now[0] = Stamp("one", 8 * HOUR, TRUE - 9_000 * HOUR)  # jumped back, and got old
        assert journal.expired() is journal.segments[0]
        now[0] = Stamp("two", 9 * HOUR, TRUE + 9_000 * HOUR)
        assert journal.expired() is journal.segments[0]
    await asyncio.to_thread(journal.stop)


async def test_a_time_ago_is_found_across_jumps_and_boots(tmp_path: Path) -> None:
    """`start: -2h` by the stamps as they were written would find 1970."""
    now = [Stamp("one", HOUR, TRUE + HOUR)]
    journal, bus = await grown(tmp_path, now)
    base = 20 * SECOND
    stamps = [
        Stamp("one", HOUR, TRUE + HOUR),
        Stamp("two", 1 * HOUR, base + HOUR, False, base),  # 1970; really TRUE + 11 h
        Stamp("two", 2 * HOUR, base + 2 * HOUR, False, base),
        Stamp("two", 3 * HOUR, TRUE + 99 * HOUR),  # set, a day or so ahead
        Stamp("two", 4 * HOUR, TRUE + 14 * HOUR),  # set rightly
    ]
    async with running(bus):
        for number, stamp in enumerate(stamps):
            now[0] = stamp
            journal.times.learn(stamp)
            await publish(bus, numbered(number * 10, number * 10 + 10))
        for text, wanted in (("-30m", 41), ("-90m", 31), ("-150m", 21), ("-5h", 11), ("-20h", 1)):
            found = await bus.subscribe(text, start=text)
            assert found.position == wanted, text
    await asyncio.to_thread(journal.stop)
