"""Numbers that outlive the process: killed, cut off, on a full or a broken disk."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.io.gpio import kept
from gateway.io.gpio.kept import Kept

COUNTING = """
import asyncio, sys
from pathlib import Path
from gateway.io.gpio.kept import Kept

async def main():
    kept = Kept(Path(sys.argv[1]))
    kept.load()
    number = kept.values.get("n", 0)
    while True:
        number += 1
        kept.put("n", number)
        print(number, flush=True)
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def read(path: Path) -> int:
    found = Kept(path)
    found.load()
    assert not found.lost
    return int(found.values.get("n", 0))


def test_a_killed_process_costs_what_it_had_not_written(tmp_path: Path) -> None:
    path, before = tmp_path / "a.kept", 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split()]
        process.wait()
        assert told[0] == before + 1  # goes on from what was kept
        before = read(path)
        print(f"{len(told)} counted, {told[-1] - before} lost")
        # At 1,000 a second: what came within WRITTEN, and a machine that is busy.
        assert told[-1] - before < 300
        assert before > told[0]


async def written(found: Kept, path: Path, number: int) -> None:
    found.put("n", number)
    for _ in range(1_000):
        if path.exists() and read(path) == number:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(kept.WRITTEN)


async def test_a_write_that_is_cut_off_leaves_what_was_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.kept"
    found = Kept(path)
    monkeypatch.setattr(kept, "SYNCED", 0.0)
    for number in (15, 26):  # both are told to the disk
        await written(found, path, number)
    monkeypatch.setattr(kept, "SYNCED", 1_000.0)
    before = path.read_bytes()
    for number in (37, 48):
        await written(found, path, number)
        after = path.read_bytes()
        differ = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        assert differ
        # Each beginning and each end of what was written, as a cut in the midst would leave it.
        for at in range(differ[0], differ[-1] + 2):
            for cut in (after[:at] + before[at:], before[:at] + after[at:]):
                path.write_bytes(cut)
                assert read(path) in (26, number)
        path.write_bytes(after)
    await found.close()


async def test_the_disk_is_told_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    found = Kept(tmp_path / "a.kept")
    for number in range(100):
        found.put("n", number)
        await asyncio.sleep(0.005)
    assert len(synced) <= 3  # the file and its folder, once
    for _ in range(1_000):  # and yet it is written at once
        if read(tmp_path / "a.kept") == 99:
            break
        await asyncio.sleep(0.005)
    assert read(tmp_path / "a.kept") == 99
    found.put("n", 99)  # no change
    await found.close()
    assert len(synced) <= 4


async def test_what_is_told_late_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SYNCED", 0.3)
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    found = Kept(tmp_path / "a.kept")
    found.put("n", 1)
    await asyncio.sleep(0.15)
    found.put("n", 2)
    await asyncio.sleep(0.05)
    before = len(synced)
    await asyncio.sleep(0.6)  # nothing changes, and yet
    assert len(synced) == before + 1
    await found.close()


async def test_a_disk_that_refuses_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Kept(tmp_path / "a.kept")
    real = os.pwrite

    def refuse(fd: int, data: bytes, offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", refuse)
    found.put("n", 1)
    await asyncio.sleep(0.3)
    assert "Input/output error" in found.trouble
    monkeypatch.setattr(os, "pwrite", real)
    for _ in range(300):
        if not found.trouble:
            break
        await asyncio.sleep(0.01)
    assert found.trouble == ""
    assert read(tmp_path / "a.kept") == 1
    await found.close()


def test_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    path.write_bytes(b"BgK1" + b"\xff" * 20_000)
    found = Kept(path)
    found.load()
    assert found.lost
    assert found.values == {}
    assert path.with_suffix(".damaged").exists()


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    path.write_bytes(b"")
    assert read(path) == 0
    path.write_bytes(b"\0" * 16_384)
    assert read(path) == 0
