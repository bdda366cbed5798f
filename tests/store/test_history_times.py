"""History of readings whose times were not known when they came."""

from pathlib import Path

import numpy as np

from gateway.bus.times import Boot, Times
from gateway.core.contracts import Flag, Reading
from gateway.store.history import History

SECOND = 10**9
MONTH = 30 * 86_400.0
TRUE = 1_795_000_000 * SECOND
BASE = 99 * SECOND
UNSYNCED = Flag.UNSYNCED.value
ORIGIN = ("boot", BASE)


def rows(first: int, last: int, own: bool = False) -> list[Reading]:
    """One a second from CLOCK_BOOTTIME 0 on; `own`: every third has a time of its own."""
    return [
        Reading("d", TRUE + n * SECOND, {"n": float(n)})
        if own and n % 3 == 0
        else Reading("d", BASE + n * SECOND, {"n": float(n)}, UNSYNCED)
        for n in range(first, last)
    ]


async def numbers(history: History, base: int = TRUE) -> list[int]:
    """What lies where it should: each number at `base` plus its seconds."""
    points = await history.query("d", "n", 0, 2**62)
    assert [ms for ms, _ in points] == sorted(ms for ms, _ in points)
    return [int(v) for ms, v in points if ms == (base + int(v) * SECOND) // 1_000_000]


async def test_stored_and_open_samples_are_put_right_once_known(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.times = times = Times()
    times.boots["boot"] = Boot("boot", 0, 0)
    history.add(1, rows(0, 1_500), ORIGIN)
    await history.flush()
    history.add(1_501, rows(1_500, 1_600), ORIGIN)
    assert await numbers(history, BASE) == list(range(1_600))
    times.boots["boot"].note(TRUE)
    history.settle("boot")
    history.add(1_601, [Reading("d", TRUE + n * SECOND, {"n": float(n)}) for n in (1_600, 1_601)])
    await history.flush()
    assert await numbers(history) == list(range(1_602))
    (series,) = await history.series("d")
    assert (series["first"], series["last"]) == (
        TRUE // 1_000_000, (TRUE + 1_601 * SECOND) // 1_000_000,
    )  # fmt: skip
    await history.close()
    again = History(tmp_path, MONTH)
    assert await numbers(again) == list(range(1_602))
    await again.close()


async def test_devices_own_times_among_them_stay(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.times = times = Times()
    times.boots["boot"] = Boot("boot", 0, 0)
    history.add(1, rows(0, 3_000, own=True), ORIGIN)
    await history.flush()
    times.boots["boot"].note(TRUE)
    history.settle("boot")
    await history.flush()
    assert await numbers(history) == list(range(3_000))
    await history.close()


async def test_a_kill_before_they_were_put_right_changes_nothing(tmp_path: Path) -> None:
    """Known, but not yet written to history.db: the next start does it, and once only."""
    history = History(tmp_path, MONTH)
    history.times.boots["boot"] = Boot("boot", 0, 0)
    history.add(1, rows(0, 2_000), ORIGIN)
    await history.close()
    for _ in range(2):
        again = History(tmp_path, MONTH)
        again.times.boots["boot"] = Boot("boot", 0, 0, offset=TRUE)
        again.settle("boot")
        await again.flush()
        again.add(1, rows(0, 2_000), ORIGIN)  # read again from the journal
        assert await numbers(again) == list(range(2_000))
        await again.close()


async def test_two_boots_are_not_mixed(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.times = times = Times()
    times.boots["one"] = Boot("one", 0, 0)
    times.boots["two"] = Boot("two", 0, 0)
    history.add(1, rows(0, 100), ("one", BASE))
    history.add(101, rows(100, 200), ("two", BASE))
    times.boots["two"].note(TRUE)
    history.settle("two")
    assert await numbers(history) == list(range(100, 200))
    times.boots["one"].note(TRUE)
    history.settle("one")
    await history.flush()
    assert await numbers(history) == list(range(200))
    await history.close()


async def test_a_damaged_chunk_does_not_hold_up_the_others(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.times = times = Times()
    times.boots["boot"] = Boot("boot", 0, 0)
    history.add(1, rows(0, 2_048), ORIGIN)
    await history.flush()
    await history.database.write(
        lambda c: c.execute("UPDATE chunk SET times = x'00' WHERE first_seq = 1")
    )
    times.boots["boot"].note(TRUE)
    history.settle("boot")
    await history.flush()
    points = await history.query("d", "n", TRUE + 1_024 * SECOND, 2**62)
    assert np.array_equal([v for _, v in points], np.arange(1_024.0, 2_048.0))
    await history.close()
