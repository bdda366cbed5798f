"""Whatever history is asked, rollups answer as the samples themselves would."""

import asyncio
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bus.times import Boot
from gateway.core.contracts import Flag, Reading, Value
from gateway.store import keeping
from gateway.store.history import ROLLUPS, History
from gateway.store.points import Points
from gateway.store.rollups import WIDTHS

MINUTE, HOUR, DAY = WIDTHS[1], WIDTHS[2], WIDTHS[3]
BEGIN = 20_000 * DAY
MONTH = 30 * 86_400.0
AGGREGATES = ("avg", "min", "max", "sum", "count", "last")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few samples are many, so that a short test goes through everything."""
    monkeypatch.setattr("gateway.store.merging.CHUNKS", 2)
    monkeypatch.setattr("gateway.store.merging.SAMPLES", 20)
    monkeypatch.setattr(keeping, "_ROWS", 3)
    monkeypatch.setattr(keeping, "_STEP", 60)
    monkeypatch.setattr(keeping, "_PAUSE", 0.0)
    monkeypatch.setattr(keeping, "_PAGES", 8)
    monkeypatch.setattr("gateway.store.merging.LARGE", 40)
    monkeypatch.setattr("gateway.store.planning.EXACT", 0)


def plain(journal: list[Reading], metric: str, width: int, how: str) -> Points:
    """What a list of all samples answers."""
    buckets: dict[int, list[tuple[int, int, float]]] = {}
    for number, reading in enumerate(journal):
        if metric in reading.values:
            bucket = reading.time // width * width
            value: Any = reading.values[metric]
            buckets.setdefault(bucket, []).append((reading.time, number, value))
    points: Points = []
    for bucket, found in sorted(buckets.items()):
        values = [value for _, _, value in sorted(found, key=lambda row: row[:2])]
        result = {
            "avg": lambda v: sum(v) / len(v), "min": min, "max": max, "sum": sum,
            "count": len, "last": lambda v: v[-1],
        }[how](values)  # fmt: skip
        points.append((bucket // 1_000_000, result))
    return points


async def agrees(history: History, journal: list[Reading], metrics: str = "xy") -> None:
    for metric in metrics:
        if not any(metric in reading.values for reading in journal):
            continue
        for width, days in ((MINUTE, 1), (HOUR, 3), (DAY, 6)):
            start, end = BEGIN - DAY, BEGIN + days * DAY
            there = [r for r in journal if start <= r.time < end]
            count = (end - start) // width
            for how in AGGREGATES:
                found = await history.query("a", metric, start, end, count, how)
                expected = plain(there, metric, width, how)
                assert [ms for ms, _ in found] == [ms for ms, _ in expected]
                values = [value for _, value in expected]
                if how in ("avg", "sum"):
                    assert [v for _, v in found] == pytest.approx(values, rel=1e-9, abs=1e-6)
                else:
                    assert [v for _, v in found] == values
        raw = await history.query("a", metric, 0, 2**62)
        order = sorted(
            (r.time, n, r.values[metric]) for n, r in enumerate(journal) if metric in r.values
        )
        assert raw == [(time // 1_000_000, value) for time, _, value in order]


async def step_of(history: History, directory: Path, journal: list[Reading], step: Any) -> History:
    if step[0] == "add":
        rows = [
            Reading("a", BEGIN + when, dict.fromkeys(metrics, value / 100))
            for when, metrics, value in step[1]
        ]
        history.add(len(journal) + 1, rows)
        journal += rows
    elif step[0] == "flush":
        await history.flush()
    elif step[0] == "compact":
        await history.compact()
    elif step[0] == "crash":
        await asyncio.to_thread(history.database.close)
        history = History(directory, MONTH)
        history.add(history.position or 1, journal[(history.position or 1) - 1 :])
    else:
        history = await damaged(history, directory, step[1])
        history.add(history.position or 1, journal[(history.position or 1) - 1 :])
    return history


async def damaged(history: History, directory: Path, row: int) -> History:
    """One row cannot be read any more, and the database is replaced."""
    with sqlite3.connect(directory / "history.db") as spoiled:
        spoiled.execute(
            "UPDATE chunk SET t_min = t_min - 1 WHERE id = "
            "(SELECT id FROM chunk ORDER BY id LIMIT 1 OFFSET ?)", (row,),
        )  # fmt: skip
    await replaced(history)
    return history


async def replaced(history: History) -> None:
    """As when a query meets damage."""
    generation = history.database.generation
    error = sqlite3.DatabaseError("a test")
    await asyncio.to_thread(history.database.repair, error, generation)
    history._renew()


when = st.one_of(
    st.integers(0, 200 * 60).map(lambda seconds: seconds * 10**9),
    st.integers(0, 5 * DAY), st.integers(-DAY, 0), st.sampled_from([0, MINUTE - 1, MINUTE, HOUR]),
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(
            st.tuples(when, st.sampled_from(["x", "xy"]), st.integers(-10_000, 10_000)),
            min_size=1, max_size=30, unique_by=lambda sample: sample[0],
        )),
        st.just(("flush",)), st.just(("compact",)), st.just(("crash",)),
        st.tuples(st.just("damage"), st.integers(0, 12)),
    ),
    max_size=16,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_rollups_answer_as_samples_do(tmp_path_factory: Any, steps: list[Any]) -> None:
    async def run() -> None:
        directory = tmp_path_factory.mktemp("rollups")
        history, journal = History(directory, MONTH), []  # type: ignore[var-annotated]
        times: set[int] = set()
        for step in steps:
            if step[0] == "add":  # of one time, which is the last of two streams is not told
                step = ("add", [s for s in step[1] if s[0] not in times])
                times |= {s[0] for s in step[1]}
            history = await step_of(history, directory, journal, step)
        await agrees(history, journal)
        await history.flush()
        await history.compact()
        await agrees(history, journal)
        await history.close()

    asyncio.run(run())


def readings(first: int, last: int, every: int = 7 * 10**9) -> list[Reading]:
    return [
        Reading("a", BEGIN + n * every, {"x": n % 37 / 10, "y": float(n)})
        for n in range(first, last)
    ]


async def filled(directory: Path) -> tuple[History, list[Reading]]:
    """History with chunks of all kinds, several rows at each level, and an open buffer."""
    history, journal = History(directory, MONTH), readings(0, 420)
    for first in range(0, 300, 15):
        history.add(first + 1, journal[first : first + 15])
        await history.flush()
        if first % 75 == 60:
            await history.compact()
    for first, last in ((300, 330), (330, 400)):
        history.add(first + 1, journal[first:last])
        await history.flush()
    history.add(401, journal[400:])
    return history, journal


def levels(history: History) -> list[int]:
    rows = history.database.read_now(lambda c: c.execute("SELECT level FROM chunk").fetchall())
    return [level for (level,) in rows]


async def test_whichever_rows_are_lost_each_sample_counts_once(tmp_path: Path) -> None:
    history, journal = await filled(tmp_path / "first")
    count = len(levels(history))
    assert set(levels(history)) == {0, 1, 2, 3}
    await history.close()
    for row in range(0, count, 3):
        for second in (None, (row + 5) % count):
            directory = tmp_path / f"{row}-{second}"
            history, journal = await filled(directory)
            history = await damaged(history, directory, row)
            history.add(1, journal[:200])
            await history.flush()
            begin = 201
            if second is not None:
                await history.compact()  # while the journal is still being read again
                history = await damaged(history, directory, second)
                history.add(1, journal[:100])
                await history.flush()
                await asyncio.to_thread(history.database.close)  # killed
                history = History(directory, MONTH)
                begin = history.position or 1
            history.add(begin, journal[begin - 1 :])
            await agrees(history, journal)
            await history.flush()
            await history.compact()
            await agrees(history, journal)
            await history.close()


async def test_a_gap_that_rollups_have_in_part_is_filled_in_two(tmp_path: Path) -> None:
    history, journal = await filled(tmp_path)
    with sqlite3.connect(tmp_path / "history.db") as spoiled:
        there = spoiled.execute(
            "SELECT first_seq, rolled FROM chunk WHERE level = 0 AND first_seq IN (271, 286)"
        ).fetchall()
        assert sorted(there) == [(271, 15), (286, 0)]
        spoiled.execute("UPDATE chunk SET t_max = t_max + 1 WHERE level = 0 AND first_seq > 270")
    await replaced(history)
    history.add(1, journal)
    for _ in range(2):
        await agrees(history, journal)
        await history.flush()
    await history.compact()
    await agrees(history, journal)
    await history.close()


async def test_questions_to_a_rollup_that_is_damaged_go_to_the_samples(tmp_path: Path) -> None:
    history, journal = await filled(tmp_path)
    with sqlite3.connect(tmp_path / "history.db") as spoiled:
        spoiled.execute("UPDATE chunk SET columns = substr(columns, 1, 40) WHERE level > 0")
    await agrees(history, journal)
    assert len(history.damaged) > 0
    await history.expire(BEGIN)
    assert history.damaged == set()
    assert set(levels(history)) == {0}
    await history.compact()
    assert set(levels(history)) == {0, 1, 2, 3}
    await agrees(history, journal)
    await history.close()


async def test_times_that_are_put_right_later_are_counted_where_they_belong(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.times.boots["boot"] = boot = Boot("boot", 0, 0)
    journal = readings(0, 400)
    base, marked = 3 * HOUR, Flag.UNSYNCED.value
    for first in range(0, 400, 20):
        off = -2 * HOUR if first < 200 else 0  # as if the clock had said so
        rows = [
            Reading(r.device, r.time + off, r.values, marked if off else 0)
            for r in journal[first : first + 20]
        ]
        history.add(first + 1, rows, ("boot", base) if off else ("", 0))
        await history.flush()
    await history.compact()
    wrong = [
        Reading(r.device, r.time - 2 * HOUR * (n < 200), r.values) for n, r in enumerate(journal)
    ]
    await agrees(history, wrong)
    boot.note(base + 2 * HOUR)
    history.settle("boot")
    await history.flush()
    await agrees(history, journal)
    await history.compact()
    assert {1, 2, 3} < set(levels(history))
    await agrees(history, journal)
    await history.close()


async def test_text_has_no_rollups_and_is_answered_from_samples(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    values: list[Value] = [True, 3, 4.5, "off"]
    journal = [
        Reading("a", r.time, {"x": values[n % 3], "y": values[n % 4] if n > 200 else 1.0})
        for n, r in enumerate(readings(0, 400))
    ]
    for first in range(0, 400, 20):
        history.add(first + 1, journal[first : first + 20])
        await history.flush()
    await history.compact()
    assert set(levels(history)) == {0, 1, 2, 3}
    await agrees(history, journal, "x")
    last = await history.query("a", "x", BEGIN, BEGIN + DAY, 24, "last")
    assert [type(value) for _, value in last] == [
        type(value) for _, value in plain(journal, "x", HOUR, "last")
    ]
    for how in ("count", "last"):
        found = await history.query("a", "y", BEGIN, BEGIN + DAY, 24, how)
        assert found == plain(journal, "y", HOUR, how)
    with pytest.raises(ValueError, match="needs numbers"):
        await history.query("a", "y", BEGIN, BEGIN + DAY, 24, "avg")
    await history.close()


async def test_each_level_is_kept_as_long_as_it_is_told(tmp_path: Path) -> None:
    history = History(tmp_path, 7_200.0, {1: 86_400.0, 2: 3 * 86_400.0, 3: math.inf})
    journal = readings(0, 400)
    history.add(1, journal)
    await history.flush()
    end, whole = BEGIN + DAY, plain(journal, "x", HOUR, "max")
    for now, there in (
        (BEGIN + 7_200 * 10**9, {0}), (BEGIN + DAY // 2, {1, 2, 3}),
        (BEGIN + 2 * DAY, {2, 3}), (BEGIN + 5 * DAY, {3}),
    ):  # fmt: skip
        await history.expire(now)
        assert set(levels(history)) == there
        if there != {3}:
            assert await history.query("a", "x", BEGIN, end, 24, "max") == whole
        day = await history.query("a", "x", BEGIN, end, 1, "count")
        assert day == [(BEGIN // 1_000_000, 400.0)]
    points = await history.query("a", "x", BEGIN - DAY, end + DAY, 100)
    assert {value for _, value in points} == {0.0, 3.6, 399 % 37 / 10}
    series = (await history.series("a"))[0]
    assert (series["first"], series["last"]) == (BEGIN // 10**6, journal[-1].time // 10**6)
    await history.close()


async def test_late_samples_are_added_to_what_retention_has_left(tmp_path: Path) -> None:
    history = History(tmp_path, 3_600.0)
    journal = readings(0, 400)
    history.add(1, journal)
    await history.flush()
    await history.expire(BEGIN + DAY)
    assert 0 not in levels(history)
    late = [Reading("a", BEGIN + 30 * 10**9 + n, {"x": 50.0, "y": 1.0}) for n in range(5)]
    history.add(401, late)
    for _ in range(2):
        found = await history.query("a", "x", BEGIN, BEGIN + HOUR, 60, "max")
        assert found == plain([*journal, *late], "x", MINUTE, "max")[:60]
        found = await history.query("a", "x", BEGIN, BEGIN + HOUR, 60, "count")
        assert found == plain([*journal, *late], "x", MINUTE, "count")[:60]
        await history.flush()
        await history.expire(BEGIN + DAY)
    assert 0 not in levels(history)
    await history.close()


async def test_history_stays_below_its_size(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    random = np.random.default_rng(1).random(120_000).tolist()
    for first in range(0, 120_000, 2_000):
        history.add(first + 1, [
            Reading("a", BEGIN + n * 10**9, {"x": random[n]}) for n in range(first, first + 2_000)
        ])  # fmt: skip
    await history.flush()
    history.keep(MONTH, ROLLUPS, most := 400_000)
    await history.compact()
    await history.expire(BEGIN)
    await history.compact()
    pages, _, size = await history.database.read(keeping._pages)
    assert pages * size < most * 1.1 + 8 * size
    newest = await history.query("a", "x", BEGIN, BEGIN + 2 * DAY)
    assert [value for _, value in newest][-5:] == random[-5:]
    oldest = await history.query("a", "x", BEGIN, BEGIN + 60 * MINUTE, 60, "count")
    assert [value for _, value in oldest] == [60.0] * 60
    await history.close()


@pytest.mark.parametrize("end", ["the database is closed", "a row has changed"])
async def test_a_step_that_is_cut_short_changes_nothing(tmp_path: Path, end: str) -> None:
    history, journal = await filled(tmp_path)
    stream = history._streams["a", ("x", "y")]
    if end == "a row has changed":
        read = history._keeper._read

        def meanwhile(numbers: list[int]) -> Any:
            found = read(numbers)
            with sqlite3.connect(tmp_path / "history.db") as other:
                other.execute("DELETE FROM chunk WHERE id = ?", (numbers[0],))
                other.rollback()
                other.execute("UPDATE cursor SET position = 1, crc = NULL")
            return found

        history._keeper._read = meanwhile  # type: ignore[method-assign]
        before = levels(history)
        assert not await history._keeper._merge(stream, 401, None)
        assert levels(history) == before
    else:
        step = asyncio.create_task(history._keeper._merge(stream, 401, None))
        await asyncio.sleep(0)
        await asyncio.to_thread(history.database.close)
        await asyncio.gather(step, return_exceptions=True)
        history = History(tmp_path, MONTH)
        history.add(history.position, journal[history.position - 1 :])
    await agrees(history, journal)
    await history.close()


async def test_questions_while_rows_are_replaced_see_each_sample_once(tmp_path: Path) -> None:
    history, journal = History(tmp_path, MONTH), readings(0, 3_000)
    for first in range(0, 3_000, 15):
        history.add(first + 1, journal[first : first + 15])
        await history.flush()
    night = asyncio.create_task(history.compact())
    asked = 0
    while not night.done():
        found = await history.query("a", "x", BEGIN, BEGIN + DAY, 24, "count")
        assert found == plain(journal, "x", HOUR, "count")
        asked += 1
    await night
    assert asked > 5
    assert {0, 1, 2, 3} == set(levels(history))
    await history.close()


def test_nights_come_once_a_day_and_are_made_up_for() -> None:
    now = BEGIN
    assert keeping.is_time(now, 0, 14)  # never yet
    assert keeping.is_time(now, now - 20 * HOUR, 3)
    assert not keeping.is_time(now, now - 20 * HOUR, 14)
    assert not keeping.is_time(now, now - HOUR, 4)
    assert keeping.is_time(now, now - 26 * HOUR, 14)  # the machine was off at night
    assert keeping.is_time(now, now + HOUR, 14)  # the clock was ahead
