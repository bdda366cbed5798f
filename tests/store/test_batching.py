"""What is full waits for others, so that few transactions wear a card; nothing is lost by it."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.contracts import Reading
from gateway.store import batching, taking
from gateway.store.buffers import ROWS
from gateway.store.history import History

BEGIN = 1_760_000_000_000_000_000
END = BEGIN + 10**15
MONTH = 30 * 86_400.0
DEVICES = 50


def rows(count: int) -> list[Reading]:
    """So many of each device, in turn."""
    numbers = range(count * DEVICES)
    return [Reading(f"d{n % DEVICES}", BEGIN + n * 10**9, {"x": float(n)}) for n in numbers]


def bursts(readings: list[Reading]) -> Iterator[tuple[int, list[Reading]]]:
    for start in range(0, len(readings), 500):
        yield start + 1, readings[start : start + 500]


async def values(history: History, device: str) -> list[float]:
    return [value for _, value in await history.query(device, "x", BEGIN, END)]


def chunks(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "history.db")) as there:
        (count,) = there.execute("SELECT count(*) FROM chunk").fetchone()
    return int(count)


async def test_series_that_fill_side_by_side_share_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path, MONTH)
    transactions = 0
    write = history._write

    def counted(*args: object) -> object:
        nonlocal transactions
        transactions += 1
        return write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(history, "_write", counted)
    # Each begins some rounds after the one before it, and is full as much later.
    late = [r for n, r in enumerate(rows(ROWS + 200)) if n // DEVICES >= 4 * (n % DEVICES)]
    for first, some in bursts(late):
        history.add(first, some)
        await asyncio.sleep(0.002)
    assert [len(s.sealed) for s in history.streams()] == [1] * DEVICES
    assert (transactions, chunks(tmp_path)) == (0, 0)
    await history.flush()
    assert transactions == 1
    await history.close()


async def test_what_waits_is_answered(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    expected = [float(n) for n in range(7, (2 * ROWS + 100) * DEVICES, DEVICES)]
    for first, some in bursts(rows(2 * ROWS + 100)):
        history.add(first, some)
    (known,) = await history.series("d7")
    assert len(history.streams_with("d7", ["x"])[0].sealed) == 2  # twice full, and one open
    assert (chunks(tmp_path), known["count"]) == (0, len(expected))
    assert await values(history, "d7") == expected
    await history.flush()
    assert await values(history, "d7") == expected
    await history.close()


async def test_a_crash_while_it_waits_loses_nothing(tmp_path: Path) -> None:
    journal = rows(ROWS + 10)
    history = History(tmp_path, MONTH)
    history.add(1, journal[: 100 * DEVICES])
    await history.flush()
    history.add(100 * DEVICES + 1, journal[100 * DEVICES :])
    await asyncio.sleep(0.05)
    await asyncio.to_thread(history.database.close)  # what is in memory is gone

    history = History(tmp_path, MONTH)
    assert chunks(tmp_path) == DEVICES
    assert history.position == 100 * DEVICES + 1
    history.add(history.position, journal[history.position - 1 :])
    await history.flush()
    for device in (0, DEVICES - 1):
        expected = [float(n) for n in range(device, len(journal), DEVICES)]
        assert await values(history, f"d{device}") == expected
    await history.close()


async def test_what_the_journal_deletes_waits_no_longer(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, rows(ROWS))
    assert chunks(tmp_path) == 0
    await history.secure(2)
    assert chunks(tmp_path) == DEVICES
    await history.close()


async def test_it_waits_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "LONGEST", 0.1)
    history = History(tmp_path, MONTH)
    history.add(1, rows(ROWS))
    async with asyncio.timeout(30):
        while chunks(tmp_path) < DEVICES:
            await asyncio.sleep(0.02)
    await history.close()


async def test_what_waits_is_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "BUDGET", 800_000)
    history = History(tmp_path, MONTH)
    # Not alike, so that one is full while others are not.
    chosen = random.Random(7).choices(range(DEVICES), weights=range(1, DEVICES + 1), k=100_000)
    journal = [Reading(f"d{d}", BEGIN + n * 10**9, {"x": float(n)}) for n, d in enumerate(chosen)]
    most = 0
    for first, some in bursts(journal):
        history.add(first, some)
        held = sum(s.open.size for s in history.streams() if s.open)
        waits = history._batch.size if history._batch and not history._batch.hurried else 0
        most = max(most, waits)
        assert waits < 200_000
        assert held + waits < 820_000  # with the burst that made it too much
        await asyncio.sleep(0.002)
    assert most > 100_000  # or nothing waited
    await history.flush()
    assert await values(history, "d3") == [float(n) for n, d in enumerate(chosen) if d == 3]
    await history.close()


async def test_what_has_been_open_for_an_hour_takes_along_what_soon_will(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    history.add(1, rows(1))
    now = time.monotonic()
    for number, stream in enumerate(history.streams()):
        assert stream.open is not None
        stream.open.opened = now - 3_500 + number * 60
    assert history._old(now) == []
    assert [s.key[0] for s in history._old(now + 120)] == [f"d{n}" for n in range(16)]
    await history.close()
