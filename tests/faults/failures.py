"""The failures that a gateway must heal by itself: `failures.csv`, made once by chance from a seed.

`python -m tests.faults.failures` writes the list again; a test holds that it is what the seed
gives. Each is one of KINDS, lasts `seconds`, and has an `amount` where the kind has one.
"""

import csv
import random
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).parent / "failures.csv"
SEED = 2_026
EACH = 9
"""How many of each kind."""

KINDS: dict[str, tuple[float, float]] = {
    # what happens to the connection to the sink
    "sink-cut": (0, 0),
    "sink-reset": (0, 0),
    "sink-refused": (0, 0),
    "sink-slow": (0.1, 2.0),  # seconds that each piece is kept; a write may take 1 s
    "sink-throttled": (100, 5_000),  # bytes a second
    "sink-request-truncated": (1, 200),  # bytes
    "sink-answer-truncated": (1, 100),
    "sink-swallows": (0, 0),
    "sink-garbled": (0, 0),
    # what the sink, or something before it, does
    "sink-frozen": (0, 0),
    "sink-killed": (0, 0),
    "sink-fails": (0, 0),  # HTTP 500
    "sink-overloaded": (0, 0),  # HTTP 503 with Retry-After
    "sink-limits": (0, 0),  # HTTP 429
    "sink-denies": (0, 0),  # HTTP 401
    "sink-behind-portal": (0, 0),  # a web page
    # what happens to the connection to the broker that readings come from
    "source-cut": (0, 0),
    "source-reset": (0, 0),
    "source-refused": (0, 0),
    "source-slow": (0.1, 0.5),
    "source-throttled": (500, 5_000),
    "source-truncated": (1, 40),
    "source-swallows": (0, 0),
    "broker-restarted": (0, 0),
}
"""By kind: between which numbers its amount lies."""


class Failure(NamedTuple):
    """One of them."""

    kind: str
    seconds: float
    amount: float


def made(seed: int = SEED) -> list[Failure]:
    """What a seed gives: EACH of each kind, mixed."""
    chance = random.Random(seed)
    found = [
        Failure(kind, round(chance.uniform(0.2, 1.2), 2), round(chance.uniform(low, high), 2))
        for kind, (low, high) in KINDS.items()
        for _ in range(EACH)
    ]
    chance.shuffle(found)
    return found


def listed() -> list[Failure]:
    """The list that is kept."""
    with LIST.open(newline="") as file:
        rows = csv.DictReader(file)
        return [Failure(r["kind"], float(r["seconds"]), float(r["amount"])) for r in rows]


def main() -> None:
    """Write the list."""
    with LIST.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Failure._fields)
        writer.writerows(made())


if __name__ == "__main__":
    main()
