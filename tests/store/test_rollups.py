"""Whatever history is asked, rollups answer as the samples themselves would."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bus.times import Boot
from gateway.core.contracts import Flag, Reading, Value
from gateway.store import keeping
from gateway.store.history import History
from gateway.store.points import Points
from gateway.store.rollups import WIDTHS

MINUTE, HOUR, DAY = WIDTHS[1], WIDTHS[2], WIDTHS[3]
BEGIN = 20_000 * DAY
MONTH = 30 * 86_400.0
AGGREGATES = ("avg", "min", "max", "sum", "count", "last")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few samples are many, so that a short test goes through everything."""
    monkeypatch.setattr(keeping, "_CHUNKS", 2)
    monkeypatch.setattr(keeping, "_SAMPLES", 20)
    monkeypatch.setattr(keeping, "_ROWS", 3)
    monkeypatch.setattr(keeping, "_STEP", 60)
    monkeypatch.setattr(keeping, "_PAUSE", 0.0)
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
            Reading("a", BEGIN + when, {metric: value / 100 for metric in metrics})
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
    generation = history.database.generation
    error = sqlite3.DatabaseError("a test")
    await asyncio.to_thread(history.database.repair, error, generation)
    history._renew()
    return history


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
        Reading("a", BEGIN + n * every, {"x": n % 37 / 10, "y": float(n)}) for n in range(first, last)
    ]  # fmt: skip


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
    for row in range(count):
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
