"""CPU per QoS 1 message of 3 values, side by side in one run.

python -m tests.benchmarks.ingest [--rates 1000,10000,0] [--seconds 10] [--rounds 2] [--keep]
A rate of 0 is as fast as it goes. Take the ratios: absolute times belong to one machine.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.chart import FIGURES
from tests.benchmarks.ingest.measure import Result, ingest, receive

_FASTEST = 5_000  # messages a second of the saturated run are counted by this


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="1000,10000,0")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="for the chart in the documentation")
    args = parser.parse_args()
    rates = [int(rate) for rate in args.rates.split(",")]
    print("broker to InfluxDB write: us of CPU a message")
    kept = compare(ingest, "usual", rates, args.seconds, args.rounds)
    print("receive and acknowledge: us of CPU a message")
    kept += compare(receive, "paho", rates, args.seconds, args.rounds)
    if args.keep:
        FIGURES.write_text(json.dumps(kept, indent=2) + "\n")


def compare(
    measure: Callable[[str, Path, int, int], Result],
    other: str,
    rates: list[int],
    seconds: float,
    rounds: int,
) -> list[dict[str, Any]]:
    """Both in turn, each round; medians and the ratio, printed, and as the chart wants them."""
    kept: list[dict[str, Any]] = []
    print(f"{'rate':>8} {'ours':>8} {other:>8} {'ratio':>7} {'ours/s':>9} {other + '/s':>9}  lost")
    for rate in rates:
        count = int((rate or _FASTEST) * seconds)
        found: dict[str, list[Result]] = {"ours": [], other: []}
        for _ in range(rounds):
            for who in found:
                with tempfile.TemporaryDirectory() as directory:
                    found[who].append(measure(who, Path(directory), count, rate))
        ours, theirs = (statistics.median(r.cpu for r in found[who]) for who in ("ours", other))
        speeds = [statistics.median(count / r.seconds for r in found[w]) for w in ("ours", other)]
        lost = sum(r.lost for r in found["ours"]), sum(r.lost for r in found[other])
        print(
            f"{rate or 'max':>8} {ours:8.1f} {theirs:8.1f} {ours / theirs:7.3f} "
            f"{speeds[0]:9.0f} {speeds[1]:9.0f}  {lost[0]}, {lost[1]}",
            flush=True,
        )
        what = "to InfluxDB" if other == "usual" else "receive"
        kept.append({"what": what, "rate": rate, "ours_us": ours, "other_us": theirs})
    return kept


if __name__ == "__main__":
    main()
