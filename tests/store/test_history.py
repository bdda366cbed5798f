"""History keeps each sample once, over any crash, and answers as a plain list would."""

import asyncio
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.contracts import Reading, Value
from gateway.store.history import History
from gateway.store.points import shape

BEGIN = 1_760_000_000_000_000_000
END = BEGIN + 10**15
MONTH = 30 * 86_400.0


def reading(number: int, device: str = "a", **values: Value) -> Reading:
    return Reading(device, BEGIN + number * 10**9, values or {"x": float(number)})


async def raw(history: History, device: str = "a", metric: str = "x") -> list[Value]:
    return [value for _, value in await history.query(device, metric, BEGIN, END)]


async def test_chunks_and_buffers_answer_together(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [reading(n) for n in range(3_000)])  # two chunks and an open buffer
    assert await raw(history) == [float(n) for n in range(3_000)]
    await history.flush()
    assert await raw(history) == [float(n) for n in range(3_000)]
    assert (await history.series("a"))[0]["count"] == 3_000
    await history.close()


values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(max_size=5)
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y"]), values),
            min_size=1, max_size=8,
        )),
        st.just(("flush",)),
        st.tuples(st.just("flush one"), st.sampled_from("ab")),
        st.just(("crash",)),
        st.tuples(st.just("damaged"), st.integers(1, 6), st.booleans()),
    ),
    max_size=12,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_each_sample_once_over_any_crash(tmp_path_factory: Any, steps: list[Any]) -> None:
    asyncio.run(_each_sample_once(tmp_path_factory.mktemp("history"), steps))


async def _each_sample_once(directory: Path, steps: list[Any]) -> None:
    journal: list[Reading] = []
    history = History(directory, MONTH)
    for step in steps:
        if step[0] == "add":
            rows = [
                Reading(device, BEGIN + (len(journal) + n) * 10**9, {metric: value})
                for n, (device, metric, value) in enumerate(step[1])
            ]
            history.add(len(journal) + 1, rows)
            journal += rows
        elif step[0] == "flush":
            await history.flush()
        elif step[0] == "flush one":
            # What others hold keeps the cursor back, so that this is read again after a crash.
            history._flush([s for k, s in history._streams.items() if k[0] == step[1]])
            await asyncio.gather(*history._flushes)
        elif step[0] == "damaged":
            history = await _damaged(directory, history, step[1], step[2])
            begin = history.position or 1
            history.add(begin, journal[begin - 1 :])
        else:
            # What is in memory is gone; the journal is read again from the cursor.
            await asyncio.to_thread(history.database.close)
            history = History(directory, MONTH)
            begin = history.position or 1
            assert begin <= len(journal) + 1
            history.add(begin, journal[begin - 1 :])
    for device in "ab":
        for metric in "xy":
            expected = [
                r.values[metric] for r in journal if r.device == device and metric in r.values
            ]
            if expected:
                found = await raw(history, device, metric)
                assert found == expected
                assert [type(v) for v in found] == [type(v) for v in expected]
    await history.close()


async def _damaged(directory: Path, history: History, chunk: int, while_it_runs: bool) -> History:
    """One chunk cannot be read any more, and the database is replaced: at a start or later."""
    if not while_it_runs:
        await asyncio.to_thread(history.database.close)
    with sqlite3.connect(directory / "history.db") as spoiled:
        spoiled.execute("UPDATE chunk SET t_min = t_min - 1 WHERE id = ?", (chunk,))
    if not while_it_runs:
        history = History(directory, MONTH)
    await asyncio.to_thread(
        history.database.repair, sqlite3.DatabaseError("a test"), history.database.generation
    )
    history._renew()
    return history


async def test_a_chunk_that_is_not_what_was_written_is_left_out_and_counted(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [reading(n) for n in range(3_072)])
    await history.flush()
    with sqlite3.connect(tmp_path / "history.db") as spoiled:
        (columns,) = spoiled.execute("SELECT columns FROM chunk WHERE id = 2").fetchone()
        flipped = bytearray(columns)
        flipped[len(flipped) // 2] ^= 4
        spoiled.execute("UPDATE chunk SET columns = ? WHERE id = 2", (bytes(flipped),))
    for _ in range(2):
        expected = [*range(1_024), *range(2_048, 3_072)]
        assert await raw(history) == [float(n) for n in expected]
        assert history.damaged == {2}
    await history.close()


async def test_a_filled_gap_does_not_claim_what_lies_behind_it(tmp_path: Path) -> None:
    journal = [reading(n) for n in range(1_600)]
    history = History(tmp_path, MONTH)
    for first in range(0, 1_500, 500):  # chunks that are smaller than a full buffer
        history.add(first + 1, journal[first : first + 500])
        await history.flush()
    for chunk in (1, 2):  # one after the other, each filled again from the journal
        history = await _damaged(tmp_path, history, chunk, True)
        history.add(history.position or 1, journal)
        await history.flush()
        assert await raw(history) == [float(n) for n in range(1_600)]
    await history.close()


async def test_a_query_that_meets_damage_has_the_database_replaced(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [reading(n, device=f"d{n % 9}") for n in range(20_000)])
    await history.flush()
    await asyncio.to_thread(history.database.close)
    file = tmp_path / "history.db"
    history = History(tmp_path, MONTH)
    data = bytearray(file.read_bytes())
    root = history.database.read_now(
        lambda c: c.execute("SELECT rootpage FROM sqlite_master WHERE name = 'chunk_by_time'")
        .fetchone()[0]
    )  # fmt: skip
    page = int.from_bytes(data[16:18], "big")
    data[(root - 1) * page : root * page] = bytes(page)
    file.write_bytes(data)
    history.database._reader.execute("PRAGMA shrink_memory")
    assert await raw(history, "d3") == [float(n) for n in range(3, 20_000, 9)]
    assert len(history.database.set_aside) == 1
    assert history.generation == 1
    assert history.position == 0  # the journal is read again
    await history.close()


async def test_what_is_on_its_way_to_a_replaced_database_comes_from_the_journal(
    tmp_path: Path,
) -> None:
    history = History(tmp_path, MONTH)
    journal = [reading(n) for n in range(5_000)]
    history.add(1, journal[:2_500])
    await history.flush()
    for file in tmp_path.glob("history.db*"):
        file.unlink()
    history.add(2_501, journal[2_500:])
    flushing = asyncio.create_task(history.flush())
    await asyncio.wait_for(flushing, 10)
    assert history.generation == 1
    assert not history.failing
    history.add(history.position or 1, journal)
    assert await raw(history) == [float(n) for n in range(5_000)]
    await history.flush()
    assert await raw(history) == [float(n) for n in range(5_000)]
    await history.close()


async def test_a_reading_without_metrics_takes_no_place(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [Reading("a", BEGIN, {}), reading(1), Reading("a", BEGIN, {})])
    await history.flush()
    assert await raw(history) == [1.0]
    assert history.position == 0
    await asyncio.to_thread(history.database.close)
    assert History(tmp_path, MONTH).position == 4


async def test_aggregates_answer_as_a_plain_list_would(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    numbers = [math.sin(n / 7) * n for n in range(2_500)]
    history.add(1, [reading(n, x=value) for n, value in enumerate(numbers)])
    end = BEGIN + 2_500 * 10**9
    plain = {
        "avg": lambda b: sum(b) / len(b), "min": min, "max": max, "sum": sum,
        "count": len, "last": lambda b: b[-1],
    }  # fmt: skip
    buckets = [numbers[n : n + 250] for n in range(0, 2_500, 250)]
    for how, function in plain.items():
        found = await history.query("a", "x", BEGIN, end, 10, how)
        assert [ms for ms, _ in found] == [(BEGIN + n * 250 * 10**9) // 10**6 for n in range(10)]
        assert [v for _, v in found] == pytest.approx([function(b) for b in buckets])
    with pytest.raises(ValueError, match="is no aggregate"):
        await history.query("a", "x", BEGIN, end, 10, "median")
    with pytest.raises(LookupError):
        await history.query("a", "nothing", BEGIN, end)
    await history.close()


async def test_text_can_be_counted_but_not_averaged(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [reading(n, state="on" if n % 2 else "off") for n in range(10)])
    assert await history.query("a", "state", BEGIN, END, 1, "count") == [(BEGIN // 10**6, 10.0)]
    with pytest.raises(ValueError, match="needs numbers"):
        await history.query("a", "state", BEGIN, END, 1, "avg")
    await history.close()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(1, 60))
def test_few_points_keep_the_shape(numbers: list[float], limit: int) -> None:
    times = np.arange(len(numbers), dtype=np.int64) * 10**9
    found = shape(times, np.array(numbers), limit)
    assert len(found) <= max(limit, 1)
    assert found == sorted(found, key=lambda point: point[0])
    assert set(found) <= {(n * 1_000, value) for n, value in enumerate(numbers)}
    if limit >= 4:
        kept = [value for _, value in found]
        assert (min(kept), max(kept)) == (min(numbers), max(numbers))
        assert (kept[0], kept[-1]) == (numbers[0], numbers[-1])


async def test_a_corrupt_database_is_set_aside(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [reading(n) for n in range(10)])
    await history.close()
    (tmp_path / "history.db").write_bytes(b"no database at all" * 1_000)
    history = History(tmp_path, MONTH)
    assert history.position == 0  # what the journal still has is read again
    history.add(1, [reading(n) for n in range(10)])
    assert len(await raw(history)) == 10
    assert list(tmp_path.glob("history.db.damaged-*"))
    await history.close()


async def test_retention_deletes_what_is_old_and_nothing_else(tmp_path: Path) -> None:
    history = History(tmp_path, 1_000.0)
    history.add(1, [reading(n) for n in range(2_048)])  # two chunks of 1024 s
    await history.flush()
    await history.expire(BEGIN + 2_030 * 10**9)
    assert await raw(history) == [float(n) for n in range(1_024, 2_048)]
    await history.close()


async def test_buffers_share_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.taking.BUDGET", 100_000)
    history = History(tmp_path, MONTH)
    rows = [reading(n, device=f"d{n % 40}") for n in range(20_000)]
    for start in range(0, 20_000, 100):
        history.add(start + 1, rows[start : start + 100])
        open_size = sum(s.open.size for s in history._streams.values() if s.open)
        assert open_size < 150_000
        await asyncio.sleep(0)
    assert len(await raw(history, "d7")) == 500
    await history.close()


async def test_what_the_journal_deletes_is_stored_before(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, [reading(n) for n in range(100)])
    history.add(101, [reading(n, "b") for n in range(100)])
    await history.secure(50)
    with sqlite3.connect(tmp_path / "history.db") as there:
        assert there.execute("SELECT sum(count) FROM chunk").fetchone() == (100,)
    assert await raw(history) == [float(n) for n in range(100)]
    await history.close()
