"""What is exported is what history has: each sample once, in order, whatever happens meanwhile."""

import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.contracts import Reading, Value
from gateway.core.errors import Unavailable
from gateway.store import chunks, exporting, stretches
from gateway.store.buffers import NOWHERE
from gateway.store.chunks import Samples
from gateway.store.exporting import Export, Selection
from gateway.store.history import History
from gateway.store.settling import write_chunk
from gateway.store.stretches import MOST_VALUES, Reader

BEGIN = 1_760_000_000_000_000_000
MONTH = 30 * 86_400.0


def reading(number: int, device: str = "a", **values: Value) -> Reading:
    return Reading(device, BEGIN + number * 10**9, values or {"x": float(number)})


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    history = History(tmp_path, MONTH)
    yield history
    await history.close()


async def exported(history: History, **chosen: Any) -> bytes:
    export = Export(history, Selection(**chosen))
    async with aclosing(export.pieces()) as pieces:  # type: ignore[type-var]
        return b"".join([piece.data async for piece in pieces]) + export.note()


async def rows(history: History, **chosen: Any) -> list[list[str]]:
    text = (await exported(history, form="csv", moments="ms", **chosen)).decode()
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


async def numbers(history: History, **chosen: Any) -> list[float]:
    return [float(row[3]) for row in await rows(history, **chosen)]


async def test_chunks_and_buffers_each_sample_once(history: History) -> None:
    history.add(1, [reading(n) for n in range(5_000)])  # four chunks on their way, an open buffer
    assert await numbers(history) == [float(n) for n in range(5_000)]
    await history.flush()
    history.add(5_001, [reading(n) for n in range(5_000, 5_010)])
    assert await numbers(history) == [float(n) for n in range(5_010)]


async def test_what_is_stored_while_it_is_read_comes_once(history: History) -> None:
    history.add(1, [reading(n) for n in range(1_030)])
    [stream] = history.streams()
    pending = history.pending(stream)
    await history.flush()
    stretch = Reader(history.database, stream.id, (0,)).read(0, 2**63 - 1, pending)
    assert stretch.samples.columns[0].tolist() == [float(n) for n in range(1_030)]


async def test_devices_and_metrics_in_their_order(history: History) -> None:
    history.add(1, [reading(2, "b", y=1.0, x=2.0), reading(1, "a"), reading(0, "b", z="t")])
    found = [(device, metric) for _, device, metric, _ in await rows(history)]
    assert found == [("a", "x"), ("b", "y"), ("b", "x"), ("b", "z")]
    assert [row[1] for row in await rows(history, devices=("!a",))] == ["b", "b", "b"]
    assert [row[2] for row in await rows(history, metrics=("[xz]",))] == ["x", "x", "z"]
    with pytest.raises(LookupError):
        Export(history, Selection(devices=("c",)))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 300), min_size=1, max_size=60)),
        st.just(("flush", [])),
    ),
    min_size=1,
    max_size=20,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps, st.integers(-10, 310), st.integers(-10, 310), st.integers(1, 50))
async def test_any_overlap_comes_out_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, list[int]]],
    start: int,
    end: int,
    most: int,
) -> None:
    history = History(tmp_path_factory.mktemp("any"), MONTH)
    expected: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "MOST_VALUES", most)
        patch.setattr(stretches, "_MOST_CHUNKS", 3)
        for what, seconds in steps:
            if what == "flush":
                await history.flush()
            else:
                history.add(history.reached + 1, [reading(second) for second in seconds])
                expected += seconds
        if not expected:
            await history.close()
            return
        got = await numbers(history, start=BEGIN + start * 10**9, end=BEGIN + end * 10**9)
        assert got == sorted(float(second) for second in expected if start <= second < end)
        assert await numbers(history) == sorted(map(float, expected))
    await history.close()


async def test_no_more_than_a_stretch_is_in_memory(history: History) -> None:
    # Chunks that all lie over each other, as of a file that was shuffled.
    order = np.random.default_rng(1).permutation(200_000)
    history.add(1, [Reading("a", BEGIN + int(n), {"x": float(n)}) for n in order])
    await history.flush()
    [stream] = history.streams()
    reader, start, seen = Reader(history.database, stream.id, (0,)), 0, 0
    while start < 2**63 - 1:
        stretch = reader.read(start, 2**63 - 1, ())
        assert len(stretch.samples.times) <= 2 * MOST_VALUES
        assert stretch.end > start
        seen += len(stretch.samples.times)
        start = stretch.end
    assert seen == 200_000


async def test_merged_and_deleted_chunks_meanwhile(history: History) -> None:
    history.add(1, [reading(n) for n in range(60_000)])
    await history.flush()
    export = Export(history, Selection(form="csv"))
    got = b""
    async with aclosing(export.pieces()) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            got += piece.data
            if piece.share < 0.5:
                # Retention takes what the reader may have listed already, all but the last half.
                await history.expire(BEGIN + 30_000 * 10**9 + int(MONTH * 1e9))
    values = [float(line.rsplit(",", 1)[1]) for line in got.decode().splitlines()[1:]]
    assert values == sorted(set(values))
    assert set(values) >= {float(n) for n in range(31_000, 60_000)}
    assert not export.damaged


@pytest.mark.parametrize("after", [0, 1, 7])
async def test_chunks_that_are_merged_meanwhile(
    history: History, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    history.add(1, [reading(n) for n in range(20_000)])
    await history.flush()
    real, calls = stretches.fetch, 0

    def merge(c: sqlite3.Connection) -> None:
        """All chunks into one."""
        found = c.execute("SELECT id, stream, times, columns FROM chunk ORDER BY t_min").fetchall()
        times = np.concatenate([chunks.decode_times(row[2]) for row in found])
        values = np.concatenate([chunks.decode_column(row[3], 0) for row in found])
        write_chunk(c, (found[0][1], 1, 20_000), Samples(times, [values]), NOWHERE)
        c.execute(f"DELETE FROM chunk WHERE id IN ({','.join(str(row[0]) for row in found)})")

    def fetch(database: Any, number: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            database.submit(merge).result()
        return real(database, number)

    monkeypatch.setattr(stretches, "fetch", fetch)
    assert await numbers(history) == [float(n) for n in range(20_000)]
    assert calls > after


async def test_a_damaged_chunk_is_skipped_and_said(history: History) -> None:
    history.add(1, [reading(n) for n in range(3_072)])
    await history.flush()
    with sqlite3.connect(history.database.path) as c:
        (number,) = c.execute("SELECT id FROM chunk ORDER BY t_min LIMIT 1 OFFSET 1").fetchone()
        c.execute("UPDATE chunk SET columns = zeroblob(10) WHERE id = ?", (number,))
    assert await numbers(history) == [float(n) for n in (*range(1_024), *range(2_048, 3_072))]
    assert history.damaged == {number}
    lines = (await exported(history, form="line")).decode().splitlines()
    assert lines[-1] == "# 1 damaged chunks were skipped"
    objects = (await exported(history, form="json")).decode().splitlines()
    assert json.loads(objects[-1]) == {"note": "1 damaged chunks were skipped"}
    assert len(objects) == len(lines) == 2_049


async def test_a_replaced_database_breaks_it_off(history: History) -> None:
    history.add(1, [reading(n) for n in range(60_000)])
    await history.flush()
    export = Export(history, Selection())
    history.generation += 1
    with pytest.raises(Unavailable):
        async with aclosing(export.pieces()) as pieces:  # type: ignore[type-var]
            [piece async for piece in pieces]


async def test_forms(history: History) -> None:
    at = BEGIN + 1
    history.add(1, [
        Reading("a", BEGIN, {"x": 21.5, 'odd,"name"': "say \"hi\",\nyou", "on": True, "n": 3}),
        Reading("a", at, {"x": float("nan"), 'odd,"name"': "", "on": False, "n": -3}),
        Reading("b", BEGIN + 1_000, {"time": 1.0}),
    ])  # fmt: skip
    assert (await exported(history, form="csv")).decode() == (
        "time,device,metric,value\n"
        "2025-10-09T08:53:20.000Z,a,x,21.5\n"
        '2025-10-09T08:53:20.000Z,a,"odd,""name""","say ""hi"",\nyou"\n'
        "2025-10-09T08:53:20.000Z,a,on,true\n"
        "2025-10-09T08:53:20.000Z,a,n,3\n"
        "2025-10-09T08:53:20.000000001Z,a,x,nan\n"
        '2025-10-09T08:53:20.000000001Z,a,"odd,""name""",""\n'
        "2025-10-09T08:53:20.000000001Z,a,on,false\n"
        "2025-10-09T08:53:20.000000001Z,a,n,-3\n"
        "2025-10-09T08:53:20.000001Z,b,time,1.0\n"
    )
    read = csv.reader(io.StringIO((await exported(history, form="csv")).decode(), newline=""))
    assert next(row for row in read if row[1:3] == ["a", 'odd,"name"'])[3] == 'say "hi",\nyou'
    objects = [
        json.loads(o) for o in (await exported(history, form="json", moments="ms")).splitlines()
    ]
    assert objects[0] == {
        "time": BEGIN // 10**6, "device": "a",
        "values": {"x": 21.5, 'odd,"name"': "say \"hi\",\nyou", "on": True, "n": 3},
    }  # fmt: skip
    assert objects[1]["values"]["x"] is None
    assert (await exported(history, form="line")).decode() == (
        'a x=21.5,odd\\,"name"="say \\"hi\\",\nyou",on=true,n=3i 1760000000000000000\n'
        'a odd\\,"name"="",on=false,n=-3i 1760000000000000001\n'
        '# 1 reports were left out: "time" is reserved; give it another name with mapping.fields\n'
    )


async def test_one_value_for_each_while(history: History) -> None:
    history.add(1, [reading(n, x=float(n), t="text") for n in range(7_200)])
    await history.flush()
    minute = 60 * 10**9
    chosen = {"form": "csv", "every": minute, "aggregate": "max", "metrics": ("x",)}
    got = await rows(history, **{k: v for k, v in chosen.items() if k != "form"})
    times = [int(row[0]) for row in got]
    assert all(time * 10**6 % minute == 0 for time in times)
    assert float(got[-1][3]) == 7_199.0
    expected = await history.query(
        "a", "x", BEGIN - BEGIN % minute, BEGIN - BEGIN % minute + 121 * minute, 121, "max"
    )
    assert [(time, float(row[3])) for time, row in zip(times, got, strict=True)] == expected
    export = Export(history, Selection(every=minute, aggregate="avg"))
    async with aclosing(export.pieces()) as pieces:  # type: ignore[type-var]
        data = b"".join([piece.data async for piece in pieces])
    assert b",t," not in data
    assert export.remarks() == ["1 series were left out: they have texts, not numbers"]


async def test_it_says_how_far_it_is(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PIECE", 1)
    history.add(1, [reading(n, f"d{n % 3}") for n in range(150_000)])
    await history.flush()
    export = Export(history, Selection())
    async with aclosing(export.pieces()) as pieces:  # type: ignore[type-var]
        found = [(piece.share, piece.rows) async for piece in pieces]
    assert found == sorted(found)
    assert len(found) > 6
    assert found[-1] == (1.0, 150_000)
    assert any(0.4 < share < 0.6 for share, _ in found)
