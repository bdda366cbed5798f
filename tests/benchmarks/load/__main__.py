"""What a gateway does under load, one line of JSON for each case.

python -m tests.benchmarks.load [CASE ...] [--seconds 60]
Cases: sustained (40,000 messages a second), devices (10,000, one message a second each), latency,
wear (needs root), full (wear of a journal that keeps no more, 1,000 messages a second), memory,
fleet (10,000 MQTT devices with a connection each at the embedded broker, 2,000 with CoAP),
births (likewise, where each MQTT device also says that it is there).
Take figures from a quiet machine; broker, publisher and sink run on it as well.
"""

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks.load import cases
from tests.benchmarks.load.fleet import fleet

CASES = ("sustained", "devices", "latency", "wear", "full", "memory", "fleet", "births")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=40_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for case in args.case:
            for title, found in measured(case, Path(name), args.seconds, args.rate):
                print(cases.printed(title, found), flush=True)


def measured(
    case: str, root: Path, seconds: float, rate: int
) -> "list[tuple[str, dict[str, float]]]":
    """The figures of a case, by name."""
    if case == "sustained":
        return [(case, cases.sustained(root / case, rate, seconds, 1_000))]
    if case == "devices":
        return [(case, cases.sustained(root / case, 10_000, seconds, 10_000))]
    if case == "latency":
        kinds = {"latency with defaults": False, "latency at the least": True}
        return [(k, cases.latency(root / k, 1_000, seconds, least=v)) for k, v in kinds.items()]
    if case == "memory":
        return [(case, cases.memory(root / case, seconds, 1_000))]
    if case in ("fleet", "births"):
        return [(case, fleet(root / case, 10_000, 2_000, seconds, births=case == "births"))]
    if case == "full":
        return [(case, cases.wear(root / case, 1_000, seconds, "1s", full=True))]
    return [
        (f"wear {n}/s, gather {gather}", cases.wear(root / f"w{n}{gather}", n, seconds, gather))
        for gather, rates in (("1s", (1, 10, 100, 1_000)), ("30s", (10,)))
        for n in rates
    ]


if __name__ == "__main__":
    main()
