"""What history costs, printed.

python -m tests.benchmarks.history [--hours 24] [--devices 333] [--fleet 10000] [--days 365]
    [--crowd 1000]
"""

import argparse
import asyncio
import math
import tempfile
import time
from pathlib import Path

from gateway.store import keeping, taking
from gateway.store.history import History
from tests.benchmarks.history.measure import (
    BEGIN,
    DAY,
    MONTH,
    SECOND,
    ask,
    bursts,
    crowd,
    fill,
    fill_year,
    ingest,
    percentile,
    size_of,
)


async def times_of(
    history: History, device: str, metric: str, span: tuple[int, int], how: str | None = None
) -> str:
    """How long questions take (ms)."""
    took = [(await ask(history, device, metric, span, how))[1] * 1e3 for _ in range(60)]
    return f"p50 {percentile(took, 0.5):6.1f}  p95 {percentile(took, 0.95):6.1f} ms"


async def many(directory: Path, devices: int, hours: int, every: int) -> History:
    """So many devices for some hours, and a night; prints what that takes."""
    history = History(directory, MONTH)
    stored = await fill(history, directory, devices, hours * 3_600 // every, every)
    whole = 24 / hours
    print(
        f"{devices} devices, 3 metrics, 1 each {every} s, {hours} h: "
        f"{stored.values / 1e6:.1f} M values"
    )
    for name, size in (("before the night", stored.before), ("after", stored.after)):
        print(
            f"  {name:18} {size / 1e6:7.1f} MB  {size / stored.values:5.2f} B/value"
            f"  24 h: {size * whole / 1e6:6.1f} MB"
        )
    per = stored.adding / stored.values * 3e6
    print(f"  adding and storing {per:5.2f} us a reading; the night {stored.night:.1f} s of CPU")
    levels = await history.database.read(
        lambda c: c.execute(
            "SELECT level, count(*), sum(length(times) + length(columns)) FROM chunk GROUP BY level"
        ).fetchall()
    )
    for level, count, size in levels:
        print(f"  level {level}: {count:6} rows, {size / 1e6:7.2f} MB")
    return history


async def day(directory: Path, devices: int, hours: int) -> None:
    """A day of many series."""
    history = await many(directory, devices, hours, 1)
    span = (BEGIN + 7 * SECOND, BEGIN + (hours * 3_600 - 5) * SECOND)
    for how in (None, "avg"):
        took = await times_of(history, "sensor-5", "humidity", span, how)
        print(f"  {hours} h of one to 500 points, {how or 'shape'}: {took}")
    sequence = history.reached
    made = list(bursts(devices, 2_000, seed=3))
    for rate in (0, 10, 0, 10):
        part, made = made[:500], made[500:]
        found = await ingest(history, sequence, part, span, rate)
        sequence = history.reached
        adding, storing = ([s * 1e3 for s in each] for each in (found.adding, found.storing))
        print(
            f"  {rate:2} questions a second: a burst taken in p50 {percentile(adding, 0.5):5.2f}"
            f" p99 {percentile(adding, 0.99):5.2f}, commit p99 {percentile(storing, 0.99):5.1f} ms"
        )
    await history.close()


async def fleet(directory: Path, devices: int) -> None:
    """Half a day of many devices that say little."""
    history = await many(directory, devices, 12, 60)
    await history.close()


async def year(directory: Path, days: int) -> None:
    """A year of one series."""
    history = History(directory, MONTH)
    began = time.perf_counter()
    await fill_year(history, days)
    print(
        f"{days} days of one series, 1 a second: {size_of(directory) / 1e6:.1f} MB "
        f"(samples of 30 days), made in {time.perf_counter() - began:.0f} s"
    )
    end = BEGIN + days * DAY * SECOND + 13
    spans = {"year": (BEGIN + 11, end), "30 days": (end - 30 * DAY * SECOND, end),
             "7 days": (end - 7 * DAY * SECOND, end), "24 h": (end - DAY * SECOND, end),
             "24 h, 100 days ago": (end - 100 * DAY * SECOND, end - 99 * DAY * SECOND)}  # fmt: skip
    for name, span in spans.items():
        for how in (None, "avg", "sum"):
            took = await times_of(history, "meter", "power", span, how)
            print(f"  {name:20} {how or 'shape':6} {took}")
    await history.close()


async def crowds(directory: Path, devices: int) -> None:
    """Many devices whose open buffers have little memory: as it is, and without packing."""
    cases = {
        "as it is": (taking.AIM, taking.BUDGET),
        "16 MB, not packed": (math.inf, 16_000_000),
        "8 MB, not packed": (math.inf, 8_000_000),
    }
    print(f"{devices} devices, 3 metrics, 1 a second each, 40 min:")
    for turn in range(2):
        for name, (aim, budget) in cases.items():
            if aim == math.inf:
                narrow, taking.pack = taking.pack, lambda buffers, wanted: None
            at = directory / f"{name}-{turn}"
            found = await crowd(at, devices, 2_400, aim, budget)
            if aim == math.inf:
                taking.pack = narrow
            print(
                f"  {name:18} {found.cpu:5.2f} us a reading  {found.size:5.2f} B/value  "
                f"{found.rows:5.0f} rows a chunk  {found.held / 1e6:5.1f} MB held"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--devices", type=int, default=333)
    parser.add_argument("--fleet", type=int, default=10_000, help="devices that report each minute")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--crowd", type=int, default=1_000, help="devices that share the buffers")
    given = parser.parse_args()
    keeping._PAUSE = 0.0  # what it leaves to others is not what it costs
    with tempfile.TemporaryDirectory() as directory:
        if given.hours:
            asyncio.run(day(Path(directory) / "day", given.devices, given.hours))
        if given.fleet:
            asyncio.run(fleet(Path(directory) / "fleet", given.fleet))
        if given.days:
            asyncio.run(year(Path(directory) / "year", given.days))
        if given.crowd:
            asyncio.run(crowds(Path(directory), given.crowd))


if __name__ == "__main__":
    main()
