"""What history costs: bytes on the disk, the time of a question, what questions cost ingest.

Readings as sensors send them: each device one a second with three metrics, at ±10 ms; values are
random walks with one, two and three decimals, each step at most three units of the last one.
"""

import asyncio
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gateway.core.contracts import Reading
from gateway.store import taking
from gateway.store.buffers import Buffer
from gateway.store.history import History
from gateway.store.points import Points

SECOND = 1_000_000_000
DAY = 86_400
BEGIN = 20_000 * DAY * SECOND
MONTH = 30.0 * DAY
_BLOCK = 300  # rows that are made at once
_STEP = 3  # units of the last decimal


def bursts(devices: int, count: int, seed: int = 1, every: int = 1) -> Iterator[list[Reading]]:
    """What all devices report, so many times, each `every` seconds."""
    random = np.random.default_rng(seed)
    decimals = np.array([1, 2, 3])
    level = random.integers(100, 3_000, (1, devices, 3))
    names = [f"sensor-{number}" for number in range(devices)]
    block = max(_BLOCK * 333 // max(devices, 333), 1)
    for first in range(0, count, block):
        rows_here = min(block, count - first)
        steps = random.integers(-_STEP, _STEP + 1, (rows_here, devices, 3))
        walk = level + np.cumsum(steps, axis=0)
        level = walk[-1:]
        values = np.round(walk / 10.0**decimals, decimals.max()).tolist()
        jitter = random.integers(-10, 11, (rows_here, devices))
        at = BEGIN + (first + np.arange(rows_here))[:, None] * every * SECOND + jitter * 1_000_000
        for times, rows in zip(at.tolist(), values, strict=True):
            yield [
                Reading(name, when, {"temperature": a, "humidity": b, "voltage": c})
                for name, when, (a, b, c) in zip(names, times, rows, strict=True)
            ]


@dataclass(slots=True)
class Stored:
    """values: taken. before, after: bytes of all files before and after the night. adding,
    night: CPU seconds (all threads)."""

    values: int = 0
    before: int = 0
    after: int = 0
    adding: float = 0.0
    night: float = 0.0


def size_of(directory: Path) -> int:
    """Bytes of everything in a directory."""
    return sum(file.stat().st_size for file in directory.iterdir())


async def fill(
    history: History, directory: Path, devices: int, count: int, every: int = 1
) -> Stored:
    """Take what so many devices report, as `bursts`, then do what is done at night."""
    stored, sequence = Stored(), 1
    for burst in bursts(devices, count, every=every):
        began = time.process_time()
        history.add(sequence, burst)
        await asyncio.sleep(0)
        await history.room()
        stored.adding += time.process_time() - began
        sequence += len(burst)
        stored.values += 3 * len(burst)
    await history.flush()
    await history.database.checkpoint()
    stored.before = size_of(directory)
    began = time.process_time()
    await history.compact()
    stored.night = time.process_time() - began
    stored.after = size_of(directory)
    return stored


@dataclass(slots=True)
class Crowd:
    """cpu: us a reading, all threads. size: bytes a value on the disk. rows: of a chunk. held: the
    most that open buffers took (bytes)."""

    cpu: float
    size: float
    rows: float
    held: int


async def crowd(directory: Path, devices: int, count: int, aim: float, budget: int) -> Crowd:
    """So many devices, one message a second each, with buffers of that much memory."""
    before = taking.AIM, taking.BUDGET
    taking.AIM, taking.BUDGET = aim, budget  # type: ignore[assignment]
    history = History(directory, MONTH)
    sequence, spent, held = 1, 0.0, 0
    for number, burst in enumerate(bursts(devices, count)):
        began = time.process_time()
        history.add(sequence, burst)
        await asyncio.sleep(0)
        await history.room()
        if number % 60 == 0:
            history._hurry()  # what is full waits for a minute
        spent += time.process_time() - began
        sequence += len(burst)
        held = max(held, history._held()) if number % 10 == 0 else held
    began = time.process_time()
    await history.flush()
    await history.database.checkpoint()
    spent += time.process_time() - began
    rows = await history.database.read(
        lambda c: c.execute("SELECT avg(count) FROM chunk").fetchone()[0]
    )
    taking.AIM, taking.BUDGET = before
    await history.close()
    readings = devices * count
    return Crowd(spent / readings * 1e6, size_of(directory) / readings / 3, rows, held)


async def fill_year(history: History, days: int, every: int = 1) -> None:
    """One series with a sample each `every` seconds for so many days, with each night's work."""
    random = np.random.default_rng(2)
    level, sequence = 200, 1
    history.add(1, [Reading("meter", BEGIN, {"power": 20.0})])
    await history.flush()
    stream = history._streams[("meter", ("power",))]
    for day in range(days):
        count = DAY // every
        walk = level + np.cumsum(random.integers(-_STEP, _STEP + 1, count))
        level = int(walk[-1])
        jitter = random.integers(-10, 11, count) * 1_000_000
        times = BEGIN + (day * DAY + np.arange(1, count + 1) * every) * SECOND + jitter
        values = np.round(walk / 10.0, 1)
        for first in range(0, count, 1_024):
            part = slice(first, min(first + 1_024, count))
            buffer = Buffer(sequence + 1, 1)
            buffer.times = array("q", times[part].astype(np.int64).tobytes())
            buffer.numbers = array("d", values[part].tobytes())
            sequence += len(buffer.times)
            buffer.last = sequence
            stream.open = buffer
            history._flush([stream])
            history.reached = history._read = sequence + 1
            await history.room()
        await history.flush()
        if day % 10 == 9 or day == days - 1:
            await history.compact()
            await history.expire(BEGIN + (day + 1) * DAY * SECOND)


async def ask(
    history: History, device: str, metric: str, span: tuple[int, int], how: str | None = None
) -> tuple[Points, float]:
    """500 points of one series in a span (ns), and how long that took (s)."""
    began = time.perf_counter()
    points = await history.query(device, metric, *span, 500, how)
    return points, time.perf_counter() - began


@dataclass(slots=True)
class Ingest:
    """Seconds that taking a burst, and storing chunks, took; asked: questions meanwhile."""

    adding: list[float] = field(default_factory=list)
    storing: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)


async def ingest(
    history: History, first: int, bursts: list[list[Reading]], span: tuple[int, int], rate: int
) -> Ingest:
    """Take bursts, 50 a second, while `rate` questions a second come."""
    found = Ingest()
    asking = [asyncio.create_task(_asker(history, span, rate, found.asked))] if rate else []
    sequence, due = first, time.perf_counter()
    for number, burst in enumerate(bursts):
        due += 0.02
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        began = time.perf_counter()
        history.add(sequence, burst)
        found.adding.append(time.perf_counter() - began)
        sequence += len(burst)
        if number % 10 == 9:
            began = time.perf_counter()
            await history.database.write(lambda c: c.execute("UPDATE upkeep SET id = 1").rowcount)
            found.storing.append(time.perf_counter() - began)
    for task in asking:
        task.cancel()
    await history.flush()
    return found


async def _asker(history: History, span: tuple[int, int], rate: int, took: list[float]) -> None:
    number = 0
    async with asyncio.TaskGroup() as group:
        while True:
            number += 1
            group.create_task(_one(history, f"sensor-{number % 7}", span, took))
            await asyncio.sleep(1 / rate)


async def _one(history: History, device: str, span: tuple[int, int], took: list[float]) -> None:
    took.append((await ask(history, device, "temperature", span))[1])


def percentile(values: list[float], part: float) -> float:
    """The value that `part` of them do not exceed."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]
