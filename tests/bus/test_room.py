"""The journal's quota stays below the free space; the ballast goes when the disk is full."""

import contextlib
import errno
import logging
from pathlib import Path

import pytest

from gateway.bus.room import Room
from tests.support.disks import needs_root, small_disk
from tests.support.journal import numbered, numbers, open_bus, options, publish, running

MB = 1_000_000


def taken(disk: Path, size: int) -> Path:
    path = disk / "somebody-elses"
    path.write_bytes(bytes(size))
    return path


def room_of(disk: Path, *, ballast: int = 2 * MB) -> Room:
    directory = disk / "journal"
    directory.mkdir(exist_ok=True)
    return Room(directory, ballast)


@needs_root
def test_the_quota_is_lowered_to_what_the_disk_has_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with small_disk(tmp_path / "disk", 40) as disk:
        room = room_of(disk)
        room.look(0, MB, 20 * MB)
        assert room.quota == 20 * MB
        other = taken(disk, 30 * MB)
        for _ in range(3):
            room.look(0, MB, 20 * MB)
        assert 2 * MB < room.quota < 12 * MB
        room.look(5 * MB, MB, 20 * MB)
        assert 7 * MB < room.quota < 17 * MB, "what the journal has taken is not lost to it"
        other.unlink()
        room.look(0, MB, 20 * MB)
        assert room.quota == 20 * MB
    told = [r.getMessage() for r in caplog.records if "room for" in r.getMessage()]
    assert len(told) == 2


@needs_root
def test_the_quota_never_falls_below_two_segments(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 40) as disk:
        room = room_of(disk)
        other = taken(disk, 41 * MB)
        room.look(3 * MB, MB, 20 * MB)
        assert room.quota == 2 * MB
        other.unlink()


@needs_root
def test_the_ballast_goes_on_a_full_disk_and_is_not_taken_by_the_journal(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 40) as disk:
        room = room_of(disk)
        room.look(0, MB, 8 * MB)
        held = room.ballast
        assert held == 2 * MB
        other = taken(disk, 38 * MB)
        with other.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        room.look(0, MB, 8 * MB)
        assert room.ballast == 0
        (disk / "database").write_bytes(bytes(MB))  # this is what it was for
        with pytest.raises(OSError, match="No space") as refused:
            room.admit(MB)
        assert refused.value.errno == errno.ENOSPC
        other.unlink()
        room.look(0, MB, 8 * MB)
        assert room.ballast == held
        room.admit(MB)


@needs_root
async def test_a_disk_that_somebody_fills_costs_the_oldest_readings_and_not_the_newest(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        settings = options(max_size=3 * MB, segment=200_000, ballast=100_000)
        async with open_bus(disk / "journal", settings) as bus:
            out = await bus.subscribe("out")
            async with running(bus):
                for start in range(0, 200_000, 5_000):
                    await publish(bus, numbered(start, start + 5_000))
                before = len(bus.journal.segments)
                held = sum(each.path.stat().st_size for each in bus.journal.segments)
                other = taken(disk, 4_190_000 - held - 200_000 - 150_000)
                for start in range(200_000, 300_000, 5_000):
                    await publish(bus, numbered(start, start + 5_000))
                    await bus.keeper.look()
                assert bus.journal.quota < 3 * MB
                assert 2 <= len(bus.journal.segments) <= before
                kept = await numbers(bus, bus.journal.start)
                assert kept == list(range(kept[0], 300_000))
                assert out.ledger.dropped["retention"] == 300_000 - len(kept)
                other.unlink()


@needs_root
async def test_segments_are_small_on_a_small_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 20) as disk:
        async with open_bus(disk / "journal", options(max_size=10**9, segment=64 * MB)) as bus:
            assert MB <= bus.journal.options.segment <= 3 * MB
            async with running(bus):
                await publish(bus, numbered(0, 100))
