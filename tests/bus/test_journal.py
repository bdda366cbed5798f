"""The journal keeps what it acknowledged, whatever becomes of the machine."""

import asyncio
import errno
import os
import shutil
from array import array
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from gateway.bus import journal as journals
from gateway.bus import segment_writer
from gateway.bus.gather import Entry
from gateway.bus.records import RepeatKeys
from gateway.bus.segment import START
from gateway.core.contracts import Reading
from tests.support.journal import (
    SEGMENT,
    numbered,
    numbers,
    open_bus,
    options,
    publish,
    running,
)


async def fill(directory: Path, batches: int, size: int = 20, begin: int = 0) -> None:
    async with open_bus(directory) as bus, running(bus):
        for batch in range(batches):
            await publish(bus, numbered(begin + batch * size, begin + (batch + 1) * size))


async def test_goes_on_after_a_restart(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    await fill(tmp_path, 2, begin=60)
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == list(range(100))
        assert bus.head == 101


async def test_rolls_over_segments(tmp_path: Path) -> None:
    await fill(tmp_path, 12, size=2_000)
    assert len(list(tmp_path.glob("*.seg"))) > 2
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == list(range(24_000))
        assert (await numbers(bus, 23_001))[-1000:] == list(range(23_000, 24_000))


async def test_a_torn_tail_at_any_byte_costs_only_what_was_torn(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    await fill(whole, 4)
    segment = next(whole.glob("*.seg"))
    async with open_bus(whole) as bus:
        offsets = [*bus.journal.segments[0].offsets, bus.journal.segments[0].tail]
    data = segment.read_bytes()
    for cut in range(START, offsets[-1] + 1, 7):
        copy = tmp_path / f"cut-{cut}"
        copy.mkdir()
        (copy / segment.name).write_bytes(data[:cut].ljust(SEGMENT, b"\0"))
        kept = 20 * sum(end <= cut for end in offsets[1:])
        async with open_bus(copy) as bus, running(bus):
            assert await numbers(bus) == list(range(kept))
            await publish(bus, numbered(kept, kept + 5))
        async with open_bus(copy) as bus:
            assert await numbers(bus) == list(range(kept + 5))
        shutil.rmtree(copy)


async def test_damage_in_the_middle_is_skipped_and_told(tmp_path: Path) -> None:
    await fill(tmp_path, 4)
    segment = next(tmp_path.glob("*.seg"))
    async with open_bus(tmp_path) as bus:
        second = bus.journal.segments[0].offsets[1]
    with segment.open("r+b") as file:
        file.seek(second + 40)
        file.write(b"\xff\xff\xff\xff")
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == [*range(20), *range(40, 80)]
        assert bus.head == 81


async def test_a_segment_without_a_head_keeps_its_blocks(tmp_path: Path) -> None:
    await fill(tmp_path, 6, size=2_000)
    oldest = min(tmp_path.glob("*.seg"))
    with oldest.open("r+b") as file:
        file.write(b"\0" * 16)
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == list(range(12_000))
        assert [(d.path, d.offset) for d in bus.journal.damage.values()] == [(oldest, 0)]


async def test_a_failed_fsync_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 5))
        failures = [2]
        real = os.fdatasync

        def failing(fd: int) -> None:
            if failures[0]:
                failures[0] -= 1
                raise OSError(errno.EIO, "Input/output error")
            real(fd)

        monkeypatch.setattr(os, "fdatasync", failing)
        await publish(bus, numbered(5, 10))
        assert bus.journal.trouble == ""
        await publish(bus, numbered(10, 15))
        assert len(bus.journal.segments) == 2  # the file that failed is not written again
        assert await numbers(bus) == list(range(15))
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == list(range(15))


async def test_an_empty_entry_waits_for_those_before_it(tmp_path: Path) -> None:
    from gateway.bus.gather import Entry

    async with open_bus(tmp_path, options(gather=0.2)) as bus, running(bus):
        told: list[str] = []
        bus.publish(Entry(numbered(0, 1), done=lambda: told.append("readings")))
        bus.publish(Entry([], gather=0.0, done=lambda: told.append("empty")))
        await publish(bus, [])
        assert told == ["readings", "empty"]


async def test_sequences_never_fall_below_what_a_subscriber_knows(tmp_path: Path) -> None:
    from gateway.bus.journal import Journal
    from tests.support.journal import stamp

    journal = Journal(tmp_path, options(), stamp)
    journal.open(at_least=500)
    assert journal.next == 500


async def test_a_writer_that_fails_is_not_silent(tmp_path: Path) -> None:
    """What cannot be encoded ends the bus with an error instead of leaving it running in vain."""
    async with open_bus(tmp_path) as bus:
        task = asyncio.create_task(bus.run())
        await asyncio.sleep(0)
        bus.publish(Entry([Reading("a", 2**64, {"x": 1.0})]))
        with pytest.raises(OverflowError):
            await asyncio.wait_for(task, 10)


async def test_what_waited_before_it_came_waits_no_longer_for_its_commit(tmp_path: Path) -> None:
    async with open_bus(tmp_path, options(gather=30.0)) as bus, running(bus):
        committed = asyncio.get_running_loop().create_future()
        done = partial(committed.set_result, None)
        bus.publish(Entry(numbered(0, 1), size=1, waited=29.9, done=done))
        await asyncio.wait_for(committed, 10)


async def test_keys_of_a_block_of_many_small_bursts_are_all_given_back(tmp_path: Path) -> None:
    """A kill before a block is acknowledged: the broker sends all of its messages again."""
    settings = options(gather=5.0, frames=500)
    async with open_bus(tmp_path, settings) as bus, running(bus):
        committed = asyncio.get_running_loop().create_future()
        for number in range(500):
            keys = RepeatKeys("mqtt", number.to_bytes(2, "little"), bytes(4))
            last = committed.set_result if number == 499 else None
            done = partial(last, None) if last else None
            bus.publish(Entry(numbered(number, number + 1), size=1, keys=keys, done=done))
        await asyncio.wait_for(committed, 10)
    async with open_bus(tmp_path, settings) as bus:
        given = b"".join(keys.packet_ids for keys in bus.recovered_keys("mqtt"))
    assert set(array("H", given)) == set(range(500))


async def test_where_commits_are_far_apart_no_zeros_are_written_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_writer, "STEP", 4096)
    zeros = 0

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        nonlocal zeros
        zeros += len(data) if not any(data) else 0
        return os.pwrite(fd, data, offset)

    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 10))
        monkeypatch.setattr(segment_writer, "os", SimpleNamespace(**vars(os) | {"pwrite": pwrite}))
        for round_, (apart, written) in enumerate(((0.0, False), (60.0, True), (0.0, False))):
            monkeypatch.setattr(segment_writer, "_APART", apart)
            zeros = 0
            for batch in range(20):
                begin = 10 + (round_ * 20 + batch) * 100
                await publish(bus, numbered(begin, begin + 100))
            assert bool(zeros) == written
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == list(range(6_010))


async def test_where_commits_are_far_apart_each_is_in_as_few_pages_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of blocks of nearly a page, back to back, each would be in two."""
    monkeypatch.setattr(segment_writer, "_APART", 0.0)
    random = Random(3)
    some = [
        [Reading("a", n, {"x": random.random()}) for n in range(size)] for size in (490, 480, 470)
    ]
    async with open_bus(tmp_path, options(segment=1_000_000)) as bus, running(bus):
        for readings in some * 10:
            await publish(bus, readings)
        (segment,) = bus.journal.segments
        places = [*segment.offsets, segment.tail]
    pages = [(end - 1) // 4096 - begin // 4096 + 1 for begin, end in pairwise(places)]
    assert pages == [1] * 30
    async with open_bus(tmp_path) as bus:
        found = [r async for block in bus.blocks(1, follow=False) for r in block.readings]
        assert found == [r for readings in some * 10 for r in readings]
        assert not bus.journal.damage


async def test_a_segment_has_a_bounded_number_of_blocks_and_gives_back_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start looks at every block of the last one: at one a second a file of 64 MB would have
    half a million, and a start would take minutes."""
    monkeypatch.setattr(segment_writer, "MOST_BLOCKS", 10)
    async with open_bus(tmp_path) as bus, running(bus):
        for number in range(25):
            await publish(bus, numbered(number, number + 1))
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.seg"))]
    assert len(sizes) == 3
    assert max(sizes[:2]) < SEGMENT / 8, "what was prepared and not needed is given back"
    async with open_bus(tmp_path) as bus:
        assert await numbers(bus) == list(range(25))


async def test_a_file_that_was_refused_gives_back_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the room that was prepared in them, files of a disk that fails now and then would be
    taken for a full quota, and what is young would be deleted."""
    sync, calls = os.fdatasync, 0

    def now_and_then(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise OSError(errno.EIO, "planted")
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", now_and_then)
    monkeypatch.setattr(journals, "_RETRY", 0.01)
    async with open_bus(tmp_path, options(max_size=3 * SEGMENT)) as bus, running(bus):
        for number in range(40):
            await publish(bus, numbered(number, number + 1))
        await bus.keeper.look()
        assert len(bus.journal.segments) > 10
        assert await numbers(bus) == list(range(40))


async def test_readers_store_what_the_journal_is_about_to_delete(tmp_path: Path) -> None:
    """What is only in somebody's memory by then would be lost by a crash."""
    told: list[int] = []

    async def secure(end: int) -> None:
        told.append(end)
        assert bus.journal.start < end, "it is still there"

    async with open_bus(tmp_path, options(max_size=2 * SEGMENT)) as bus, running(bus):
        bus.retiring.append(secure)
        start = 0
        while not told:
            await publish(bus, numbered(start, start + 2_000))
            start += 2_000
            await bus.keeper.look()
            assert start < 200_000
        assert bus.journal.start == told[-1]


async def test_a_disk_without_room_costs_no_files_while_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried each second: a file left open each time would be the end within minutes."""
    monkeypatch.setattr(segment_writer, "MOST_BLOCKS", 5)
    monkeypatch.setattr(journals, "_RETRY", 0.001)
    room, tries = os.posix_fallocate, 0

    def full(fd: int, offset: int, length: int) -> None:
        nonlocal tries
        tries += 1
        if 1 < tries < 60:
            raise OSError(errno.ENOSPC, "planted")
        room(fd, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    async with open_bus(tmp_path) as bus, running(bus):
        for number in range(5):
            await publish(bus, numbered(number, number + 1))
        before = len(list(Path("/proc/self/fd").iterdir()))
        await publish(bus, numbered(5, 6))
        assert tries >= 60
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
        assert await numbers(bus) == list(range(6))
