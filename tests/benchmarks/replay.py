"""How long a start takes that must read a day of journal into history again.

python -m tests.benchmarks.replay [--rate 10] [--hours 24] [--rounds 3]
The journal is as a gateway leaves it that got `rate` messages of 3 values a second and committed
once a second; history's database is gone.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.block import Block
from gateway.bus.records import Meta, Stamp
from gateway.bus.segment import SEGMENT_SIZE
from gateway.bus.segment_writer import SegmentWriter
from gateway.core.contracts import Reading, boottime
from tests.benchmarks.ingest.measure import cpu_seconds
from tests.benchmarks.startup import installed
from tests.support.gateway import Gateway
from tests.support.ports import free_port

_DEVICES = 100
_ROOM = 100_000  # above the size of one block (bytes)


def write_journal(directory: Path, rate: int, seconds: int) -> int:
    """Fill a journal that ends now; how many readings."""
    directory.mkdir(parents=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    begin, uptime = time.time_ns() - seconds * 10**9, boottime() - seconds * 10**9
    writer, index = SegmentWriter.create(directory, 1, 1, SEGMENT_SIZE), 1
    for second in range(seconds):
        numbers = range(second * rate, (second + 1) * rate)
        wall = begin + second * 10**9
        readings = [_reading(n, wall + n % rate * 10**6) for n in numbers]
        stamp = Stamp(boot, max(uptime + second * 10**9, 1), wall)
        block = Block(numbers.start + 1, readings, Meta(stamp=stamp))
        if not writer.fits(_ROOM):
            writer.finish()
            index += 1
            writer = SegmentWriter.create(directory, index, block.first, SEGMENT_SIZE)
        data = blocks.encode(block, index)
        writer.append(data)
        writer.note(data)
    writer.close()
    return seconds * rate


def _reading(number: int, time: int) -> Reading:
    values = {"temperature": 20 + number % 97 / 10, "humidity": 40.5, "seq": float(number)}
    return Reading(f"d{number % _DEVICES}", time, values)


def once(directory: Path, rate: int, seconds: int) -> dict[str, float]:
    """Start over such a journal, then once more with nothing to read again: seconds, and those of
    the processor."""
    house = installed(Gateway(directory, broker={"port": free_port()}))
    count = write_journal(directory / "data" / "journal", rate, seconds)
    found = {}
    for name in ("with a journal to read again", "with nothing to read again"):
        began = time.monotonic()
        house.start()
        found[name] = time.monotonic() - began
        found[f"{name}: processor"] = cpu_seconds(house.pid)
        try:
            stored = sum(s["count"] for s in house.api("series") if s["metric"] == "seq")
            assert stored == count, f"{count - stored} readings are missing in history"
        finally:
            house.stop()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rounds = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as directory:
            rounds.append(once(Path(directory), args.rate, int(args.hours * 3_600)))
    print(f"{'start to /readyz, seconds':40} {'median':>7} {'worst':>7}")
    for name in rounds[0]:
        values = [found[name] for found in rounds]
        print(f"{name:40} {statistics.median(values):7.2f} {max(values):7.2f}")


if __name__ == "__main__":
    main()
