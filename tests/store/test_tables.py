"""History has the same of a journal, whether it takes its readings in tables or one by one."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.app.pumps import remember
from gateway.bus import table
from gateway.bus.block import Block, check, encode
from gateway.bus.table import Table, Tables
from gateway.core.contracts import Reading
from gateway.stages.profiling import Profiler
from gateway.store import buffers, tables, taking
from gateway.store.history import History
from tests.support.journal import numbered, open_bus, publish, running

MONTH = 30 * 86_400.0
BEGIN = 1_760_000_000_000_000_000


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (buffers, taking):
        monkeypatch.setattr(module, "ROWS", 4)
    for module in (tables, taking):
        monkeypatch.setattr(module, "MOST_SETS", 3)


@pytest.fixture(autouse=True, scope="module")
def however_few() -> Iterator[None]:
    """Tables also of what would cost less one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_ROWS", 0)
        yield


def table_of(first: int, blocks: Sequence[Sequence[Reading]]) -> Table:
    taken = Tables(10**6)
    for block in blocks:
        data = encode(Block(first, block), 1)
        taken.take(check(data, 0, 1), data)
        first += len(block)
    (found,) = taken.done()
    assert isinstance(found, Table)
    return found


def content(history: History, directory: Path) -> list[Any]:
    """Every chunk, and where history stands."""
    with sqlite3.connect(directory / "history.db") as database:
        chunks = database.execute(
            "SELECT s.device, s.metrics, s.last_seq, c.first_seq, c.last_seq, c.count, c.t_min,"
            " c.t_max, c.times, c.columns, c.rolled"
            " FROM chunk c JOIN stream s ON s.id = c.stream ORDER BY s.device, s.metrics,"
            " c.first_seq"
        ).fetchall()
    database.close()
    return [*chunks, history._read, history.reached]


values = st.one_of(
    st.just({"x": 1.5, "y": -2.0}),
    st.dictionaries(
        st.sampled_from(["x", "y", "z"]),
        st.one_of(
            st.floats(allow_nan=False), st.floats(allow_nan=False), st.booleans(),
            st.text(max_size=3), st.integers(-9, 9),
        ),
        max_size=3,
    ),
)  # fmt: skip
sets = st.permutations(
    ["u", "v", "w", "x", "y"]
).flatmap(  # more of them than are kept together
    lambda names: st.integers(1, 5).map(lambda n: dict.fromkeys(names[:n], 0.5))
)
blocks = st.lists(
    st.tuples(st.sampled_from("ab"), st.one_of(values, values, sets)), min_size=1, max_size=8
)
stretches = st.lists(st.tuples(st.booleans(), st.lists(blocks, min_size=1, max_size=5)), max_size=5)
kept = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), max_size=2)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stretches=stretches, kept=kept, claimed=kept)
def test_tables_and_readings_give_the_same(
    tmp_path_factory: Any, stretches: list[Any], kept: Any, claimed: Any
) -> None:
    asyncio.run(_same(tmp_path_factory.mktemp("history"), stretches, kept, claimed))


async def _same(directory: Path, stretches: list[Any], kept: Any, claimed: Any) -> None:
    whole, first = [], 1
    for in_tables, rows in stretches:
        blocks = []
        for block in rows:
            readings = [Reading(d, BEGIN + 7 * (first + n), v) for n, (d, v) in enumerate(block)]
            blocks.append((first, readings))
            first += len(block)
        whole.append((in_tables, blocks))
    found = []
    for whole_tables in (False, True):
        own = directory / str(whole_tables)
        own.mkdir(parents=True)
        history = History(own, MONTH)
        if kept or claimed:  # as after a database was saved in part
            history._salvaged = True
            stream = history.stream(("a", ("x", "y")))
            assert stream is not None
            stream.kept = sorted((begin, begin + length) for begin, length in kept)
            if claimed:
                stream.claims[1] = sorted((begin, begin + length) for begin, length in claimed)
        for _ in range(2):  # and once more, as after a crash: nothing comes twice
            for in_tables, blocks in whole:
                if whole_tables and in_tables:
                    history.add_table(table_of(blocks[0][0], [block for _, block in blocks]))
                else:
                    for begin, readings in blocks:
                        history.add(begin, readings)
            await history.flush()
        found.append(content(history, own))
        await history.close()
    assert found[1] == found[0]


async def test_what_was_saved_of_a_damaged_database_is_not_filled_twice(tmp_path: Path) -> None:
    """Chunks that were kept, and rollups that have what fills a gap already."""
    blocks: Any = [[("a", {"x": 1.0, "y": 2.0})] * 5] * 4
    saved = [(3, 3), (9, 4)]
    await _same(tmp_path / "chunks", [(True, blocks)], saved, [])
    await _same(tmp_path / "rollups", [(True, blocks)], [], saved)


async def test_what_a_table_fills_goes_to_the_disk_together(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    written = []
    true = history.database.write

    async def write(job: Any) -> Any:
        written.append(job)
        return await true(job)

    history.database.write = write  # type: ignore[method-assign]
    devices = [f"d{n}" for n in range(20)]
    history.add_table(
        table_of(1, [[Reading(d, BEGIN + n, {"x": float(n)}) for d in devices] for n in range(4)])
    )
    history._hurry()
    await asyncio.gather(*history._flushes)
    assert len(written) == 1
    assert all(each["count"] == 4 for each in await history.series())
    assert not any(stream.pending() for stream in history.streams())
    await history.close()


async def test_the_pump_reads_a_journal_again_and_goes_on(tmp_path: Path) -> None:
    async with open_bus(tmp_path / "journal") as bus, running(bus):
        for block in range(50):
            await publish(bus, numbered(20 * block, 20 * block + 20))
    history = History(tmp_path, MONTH)
    async with open_bus(tmp_path / "journal") as bus, running(bus):
        taken: list[Table] = []
        true = history.add_table
        history.add_table = lambda each: (taken.append(each), true(each))[1]  # type: ignore
        profiler = Profiler(CollectorRegistry())
        house: Any = SimpleNamespace(
            history=history, bus=bus, starting={"history"}, profiler=profiler
        )
        pump = asyncio.create_task(remember(house))
        async with asyncio.timeout(10):
            while house.starting:
                await asyncio.sleep(0.01)
            assert history.reached == 1_001
            await publish(bus, numbered(1_000, 1_020))
            while history.reached < 1_021:
                await asyncio.sleep(0.01)
        pump.cancel()
        assert sum(each.end - each.first for each in taken) == 1_020
        begin, end = 1_600_000_000 * 10**9, 1_800_000_000 * 10**9
        got = [
            value for n in range(7) for _, value in await history.query(f"d{n}", "n", begin, end)
        ]
        assert sorted(got) == [float(n) for n in range(1_020)]
    await history.close()
