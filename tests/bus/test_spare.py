"""The file of a segment that was deleted becomes the next one; what it held never comes back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.bus import block as blocks
from gateway.bus import reader, segment_writer
from gateway.bus import segment as segments
from gateway.bus.block import Block, Header
from gateway.bus.recovery import recover
from gateway.bus.segment import Damage, Segment, open_segment, read_raw, scan, spare_path
from gateway.bus.segment_writer import SegmentWriter
from gateway.core.contracts import Reading
from tests.support.journal import SEGMENT, numbered, numbers, open_bus, options, publish, running

SIZE = 1 << 16
KEPT = options(max_size=4 * SEGMENT)


def written(writer: SegmentWriter, first: int, count: int) -> None:
    """Blocks of one reading each, all of one length."""
    for sequence in range(first, first + count):
        data = blocks.encode(
            Block(sequence, [Reading("d", 10**18 + sequence, {"n": 1000.0 + sequence})]),
            writer.segment.index,
        )
        data = blocks.longer(data, 256 - len(data), writer.segment.index)
        writer.append(data)
        writer.sync()
        writer.note(data)


def spare(directory: Path, count: int) -> Path:
    """A segment of so many blocks, whose file waits to become another one."""
    writer = SegmentWriter.create(directory, 1, 1, SIZE)
    written(writer, 1, count)
    writer.finish()
    return writer.segment.path.rename(spare_path(writer.segment))


def firsts(path: Path) -> list[int]:
    """The sequences of a segment's blocks, as a start finds them; nothing is damaged."""
    segment = open_segment(path)
    found = list(scan(segment))
    assert not any(isinstance(part, Damage) for part in found)
    return list(segment.firsts)


@pytest.mark.parametrize("new", [0, 1, 7, 99, 100, 130])
def test_blocks_of_before_are_never_taken_for_new_ones(tmp_path: Path, new: int) -> None:
    """All are of one length, so that an old one stands exactly where the next would."""
    writer = SegmentWriter.reuse(spare(tmp_path, 100), 2, 101, SIZE)
    written(writer, 101, new)
    writer.close()
    assert firsts(writer.segment.path) == list(range(101, 101 + new))
    again = SegmentWriter.resume(recover(tmp_path).segments[-1], SIZE)
    written(again, 101 + new, 3)
    again.close()
    assert firsts(writer.segment.path) == list(range(101, 104 + new))


def test_of_a_torn_block_over_an_old_one_nothing_is_taken(tmp_path: Path) -> None:
    writer = SegmentWriter.reuse(spare(tmp_path, 100), 2, 101, SIZE)
    written(writer, 101, 5)
    writer.close()
    block = blocks.encode(Block(106, [Reading("d", 10**18, {"n": 1.0})]), 2)
    data = blocks.longer(block, 256 - len(block), 2)
    whole = writer.segment.path.read_bytes()
    tail = writer.segment.tail
    for torn in range(0, len(block) - 4, 8):
        writer.segment.path.write_bytes(whole[:tail] + data[:torn] + whole[tail + torn :])
        assert firsts(writer.segment.path) == list(range(101, 106))
    writer.segment.path.write_bytes(whole[:tail] + data + whole[tail + 256 :])
    assert firsts(writer.segment.path) == list(range(101, 107))


def test_a_damaged_block_before_others_is_found_among_old_ones(tmp_path: Path) -> None:
    writer = SegmentWriter.reuse(spare(tmp_path, 100), 2, 101, SIZE)
    written(writer, 101, 20)
    writer.close()
    with writer.segment.path.open("r+b") as file:
        file.seek(writer.segment.offsets[10] + 40)
        file.write(b"\xff" * 8)
    segment = open_segment(writer.segment.path)
    (damage,) = [part for part in scan(segment) if isinstance(part, Damage)]
    assert (damage.offset, damage.length) == (writer.segment.offsets[10], 256)
    assert list(segment.firsts) == [*range(101, 111), *range(112, 121)]


def test_a_start_does_not_look_through_all_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "STEP", 4096)
    writer = SegmentWriter.reuse(spare(tmp_path, 200), 2, 201, SIZE)
    written(writer, 201, 3)
    writer.close()
    look, looked = segments._block_at, 0

    def counted(*args: Any) -> Any:
        nonlocal looked
        looked += 1
        return look(*args)

    monkeypatch.setattr(segments, "_block_at", counted)
    assert firsts(writer.segment.path) == [201, 202, 203]
    assert looked < 3 + 4 * 4096 / 256


def test_what_was_written_before_is_not_zeroed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_writer, "STEP", 4096)
    write, amount = os.pwrite, 0

    def counted(fd: int, data: bytes, offset: int) -> int:
        nonlocal amount
        amount += len(data)
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", counted)
    old = spare(tmp_path, 200)
    first, amount = amount, 0
    writer = SegmentWriter.reuse(old, 2, 201, SIZE)
    written(writer, 201, 200)
    writer.close()
    assert amount == 200 * 256 + segments.START
    assert first > 1.9 * amount


async def test_the_journal_uses_files_again(tmp_path: Path) -> None:
    async with open_bus(tmp_path, KEPT) as bus, running(bus):
        inodes, most = set(), 0
        for start in range(0, 120_000, 3_000):
            await publish(bus, numbered(start, start + 3_000))
            await bus.keeper.look()
            inodes |= {path.stat().st_ino for path in tmp_path.glob("*.seg")}
            most = max(most, sum(path.stat().st_size for path in tmp_path.iterdir()))
        indices = bus.journal.segments[-1].index
        assert indices > 8
        assert len(inodes) <= 6, "four segments, the next one, and one that waits"
        assert len(list(tmp_path.glob("*.spare"))) <= 1
        assert most <= 6 * SEGMENT
        kept = await numbers(bus, bus.journal.start)
        assert kept == list(range(kept[0], 120_000))
    async with open_bus(tmp_path, KEPT) as bus, running(bus):
        assert not bus.journal.damage
        assert await numbers(bus, bus.journal.start) == kept
        await publish(bus, numbered(120_000, 120_010))
        assert (await numbers(bus, bus.journal.start))[-10:] == list(range(120_000, 120_010))


async def test_a_journal_that_lost_its_segments_goes_on_above_the_spare_one(
    tmp_path: Path,
) -> None:
    """With the index of the blocks that lie in it, they would be whole again."""
    spare(tmp_path, 100)
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 3))
        (segment,) = bus.journal.segments
        assert (segment.index, segment.before) == (2, 1)
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == [0, 1, 2]


async def test_of_several_spare_files_one_is_kept(tmp_path: Path) -> None:
    for index in (3, 4, 5):
        (tmp_path / f"{index:012d}.spare").write_bytes(b"what it was")
    (tmp_path / "notes.spare").write_bytes(b"not ours")
    async with open_bus(tmp_path):
        left = sorted(path.name for path in tmp_path.glob("*.spare"))
        assert left == ["000000000005.spare", "notes.spare"]


async def test_a_spare_file_that_cannot_be_used_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "000000000005.spare").mkdir()
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 3))
        assert await numbers(bus) == [0, 1, 2]
        assert bus.journal.segments[-1].index == 6


async def test_a_reader_of_what_becomes_another_segment_sees_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bus(tmp_path, KEPT) as bus, running(bus):
        start = 0
        while len(bus.journal.segments) < 3:
            await publish(bus, numbered(start, start + 2_000))
            start += 2_000
        oldest = bus.journal.segments[0]

        def meanwhile(segment: Segment, number: int) -> Iterator[tuple[Header, bytes]]:
            found = read_raw(segment, number)
            if segment is oldest:
                with segment.path.open("r+b") as file:  # opened as read_raw does
                    bus.journal.retire(segment)
                    file.write(bytes(SEGMENT))  # what the next one writes is none of its blocks
                    segment.path = spare_path(segment)
            return found

        monkeypatch.setattr(reader, "read_raw", meanwhile)
        found = reader.read(bus.journal, oldest.first)
        assert found[0].first == bus.journal.start > oldest.first
        assert not bus.journal.damage
