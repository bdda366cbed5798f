"""Readings come in tables as they come block by block: each once, with the same values."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus import passages as reading_on
from gateway.bus import reader, table
from gateway.bus.block import Block, CorruptBlockError, check, encode
from gateway.bus.bus import Bus
from gateway.bus.passages import passages
from gateway.bus.table import Table, Tables
from gateway.core.contracts import Flag, Reading, Value
from tests.support.journal import numbered, numbers, open_bus, options, publish, running

FIRST = 10
devices = st.sampled_from(["a", "b", "c"])
metrics = st.dictionaries(
    st.sampled_from(["x", "y", "z"]),
    st.one_of(
        st.floats(allow_nan=False), st.floats(allow_nan=False), st.booleans(),
        st.integers(-(2**62), 2**62), st.text(max_size=4),
    ),
    max_size=3,
)  # fmt: skip
plain = st.fixed_dictionaries({"x": st.floats(allow_nan=False), "y": st.floats(allow_nan=False)})
flags = st.sampled_from([0, 0, 0, 0, Flag.LATE.value, Flag.UNSYNCED.value | Flag.LATE.value])
readings = st.builds(
    Reading, devices, st.integers(-(2**62), 2**62), st.one_of(plain, metrics), flags
)
batches = st.lists(st.lists(readings, max_size=6), min_size=1, max_size=8)


@pytest.fixture(autouse=True, scope="module")
def however_few() -> Iterator[None]:
    """Tables also of what would cost less one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_ROWS", 0)
        yield


def tables(batches: Sequence[Sequence[Reading]]) -> list[Table | Block]:
    """What comes of blocks with these readings."""
    found, sequence = Tables(10**6), FIRST
    for batch in batches:
        data = encode(Block(sequence, batch), 1)
        if batch:
            found.take(check(data, 0, 1), data)
        sequence += len(batch)
    return found.done()


def every(found: Table | Block) -> list[tuple[int, Reading]]:
    if isinstance(found, Table):
        return found.readings()
    return list(enumerate(found.readings, found.first))


def described(reading: Reading) -> tuple[str, int, list[tuple[str, type, Value]]]:
    values = [(name, type(value), value) for name, value in reading.values.items()]
    return reading.device, reading.time, values


@given(batches)
def test_each_reading_is_in_a_table_or_a_block(batches: list[list[Reading]]) -> None:
    found = tables(batches)
    whole = [(n, each) for n, each in enumerate((r for b in batches for r in b), FIRST)]
    end = FIRST
    for passage in found:
        assert passage.first == end
        end = passage.end
    assert end == FIRST + len(whole)
    got = [(n, described(each)) for passage in found for n, each in every(passage) if each.values]
    assert got == [(n, described(each)) for n, each in whole if each.values]
    marked = {n for n, each in whole if each.flags & Flag.UNSYNCED}
    for passage in found:
        assert isinstance(passage, Block) or not marked & set(range(passage.first, passage.end))


@given(batches)
def test_a_part_is_one_devices_and_in_order(batches: list[list[Reading]]) -> None:
    for passage in tables(batches):
        if not isinstance(passage, Table):
            continue
        keys = [(part.device, part.names) for part in passage.parts]
        assert len(set(keys)) == len(keys)
        assert not set(keys) & {(r.device, tuple(r.values)) for _, r in passage.others}
        for part in passage.parts:
            assert (part.sequences[1:] > part.sequences[:-1]).all()
        assert passage.others == sorted(passage.others, key=lambda each: each[0])


def test_columns_that_do_not_go_together_are_refused() -> None:
    block = Block(1, [Reading("a", 1, {"x": 1.0}), Reading("b", 2, {"x": 2.0})])
    data = encode(block, 1)
    header = check(data, 0, 1)
    for field, wrong in (
        ("device", b"\x09\0\0\0" * 2), ("device", b"\0" * 4), ("times", b""), ("matrix", b"\0" * 8),
        ("rows", b"\x02\0\0\0" * 2),
    ):  # fmt: skip
        columns, _ = table.blocks.decode_columns(data, 0, header)
        setattr(columns if hasattr(columns, field) else columns.groups[0], field, wrong)
        found = Tables(100)
        found._taken.append([table._Piece(header, columns, None)])
        with pytest.raises(CorruptBlockError):
            found.done()


async def numbers_of(bus: Bus, position: int) -> list[int]:
    """Of every reading in the journal from a position on, by passages."""
    async with aclosing(passages(bus, position, follow=False)) as found:  # type: ignore[type-var]
        return [int(r.values["n"]) async for each in found for _, r in every(each)]


async def fill(directory: Path, blocks: int) -> None:
    async with open_bus(directory) as bus, running(bus):
        for block in range(blocks):
            await publish(bus, numbered(20 * block, 20 * block + 20))


async def test_from_anywhere_over_segments_and_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_BLOCKS", 7)
    await fill(tmp_path, 300)
    chance = random.Random(1)
    async with open_bus(tmp_path) as bus:
        assert len(bus.journal.segments) > 1
        for segment in bus.journal.segments:
            bus.journal.index(segment)
            with segment.path.open("r+b") as file:
                for offset in chance.sample(list(segment.offsets), 3):
                    file.seek(offset + 40)
                    file.write(b"\xff\xff\xff\xff")
        left = await numbers(bus)
        assert 5_000 < len(left) < 6_000
        damage, told = set(bus.journal.damage), set(bus.keeper._gaps)
        bus.journal.damage.clear()
        bus.keeper._gaps.clear()
        assert await numbers_of(bus, 0) == left
        assert (set(bus.journal.damage), bus.keeper._gaps) == (damage, told)
        for position in (1, 33, 1_999, 5_990, 6_001):
            assert await numbers_of(bus, position) == await numbers(bus, position)


async def test_what_makes_no_sense_is_read_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path, 5)

    def refuse(found: object) -> Table:
        raise ValueError("as if columns did not go together")

    monkeypatch.setattr(table, "_table", refuse)
    async with open_bus(tmp_path) as bus:
        assert await numbers_of(bus, 0) == list(range(100))


async def test_from_the_disk_into_what_is_committed(tmp_path: Path) -> None:
    await fill(tmp_path, 10)
    got: list[int] = []
    async with open_bus(tmp_path) as bus, running(bus):

        async def follow() -> None:
            async with aclosing(passages(bus, 0)) as found:  # type: ignore[type-var]
                async for each in found:
                    got.extend(int(r.values["n"]) for _, r in every(each))

        task = asyncio.create_task(follow())
        for block in range(10, 20):
            await publish(bus, numbered(20 * block, 20 * block + 20))
        async with asyncio.timeout(10):
            while len(got) < 400:
                await asyncio.sleep(0.01)
        task.cancel()
    assert got == list(range(400))


async def test_a_disk_that_cannot_be_read_for_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path, 5)
    refusals = [OSError(24, "Too many open files")] * 2
    true = reader.read_raw

    def refuse(*args: object) -> object:
        if refusals:
            raise refusals.pop()
        return true(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "read_raw", refuse)
    async with open_bus(tmp_path) as bus:
        assert await numbers_of(bus, 0) == list(range(100))
    assert not refusals


async def test_not_beyond_what_was_told(tmp_path: Path) -> None:
    """A block is on the disk a moment before the loop is told of its commit."""
    await fill(tmp_path, 5)
    async with open_bus(tmp_path, options()) as bus:
        found = reading_on.read_tables(bus.journal, 1, 41)
    assert (found[0].first, found[-1].end) == (1, 41)
