"""What profiling costs: a gateway's processor time a message with and without it, in one run.

`python -m tests.benchmarks.profiling [--rate 10000] [--seconds 10] [--rounds 3]`. The two take
turns, so that what else the machine does falls on both; the middle of the ratios counts.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median

from tests.benchmarks.ingest.measure import cpu_seconds
from tests.benchmarks.load.cases import bench


def cost(directory: Path, rate: int, seconds: float, *, enabled: bool) -> float:
    """Processor time a message (us)."""
    count = int(rate * seconds)
    with bench(directory, profiling={"enabled": enabled}) as here:
        here.publish(rate, rate, 100)  # each device once, and what a start takes
        here.drain(rate)
        before = cpu_seconds(here.house.pid)
        here.publish(count, rate, 100)
        here.drain(rate + count)
        return (cpu_seconds(here.house.pid) - before) / count * 1e6


def compare(directory: Path, rate: int, seconds: float, rounds: int) -> dict[str, float]:
    """The middle of each, and of their ratios."""
    found = []
    for number in range(rounds):
        order = (True, False) if number % 2 else (False, True)
        both = {on: cost(directory / f"{number}-{on}", rate, seconds, enabled=on) for on in order}
        found.append(both)
    return {
        "rate /s": rate,
        "off us/message": round(median(each[False] for each in found), 2),
        "on us/message": round(median(each[True] for each in found), 2),
        "on/off": round(median(each[True] / each[False] for each in found), 3),
    }


def main() -> None:
    """As a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(compare(Path(directory), args.rate, args.seconds, args.rounds)))


if __name__ == "__main__":
    main()
