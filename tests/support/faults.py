"""What the fault suite's cases share: a seed that repeats a run, how much to run, what came out.

BERRYGATE_FULL=1 (set by `./install.sh test --full`) runs the long form, BERRYGATE_SEED repeats a
run, BERRYGATE_RUNS sets how many rounds. With BERRYGATE_OUTCOMES=DIRECTORY each case leaves what
it saw there, one JSON file each; `python -m tests.faults.page` makes the page of them.
"""

import json
import os
import random
from pathlib import Path

FULL = os.environ.get("BERRYGATE_FULL") == "1"
_seeds: dict[str, int] = {}  # by test


def runs(short: int, full: int) -> int:
    """How many rounds a case runs: `short` everywhere, `full` in the full suite."""
    return int(os.environ.get("BERRYGATE_RUNS", full if FULL else short))


def seeded() -> random.Random:
    """Chance that a printed seed repeats."""
    seed = int(os.environ.get("BERRYGATE_SEED", random.SystemRandom().randrange(10**6)))
    print(f"BERRYGATE_SEED={seed}")
    _seeds[_test()] = seed
    return random.Random(seed)


def outcome(case: str, **figures: int | float | str) -> None:
    """What a case saw, printed and, where it is wanted, kept. case: its name on the page."""
    print(case, figures)
    if directory := os.environ.get("BERRYGATE_OUTCOMES"):
        whole = {
            "test": _test().removeprefix("tests/faults/").split("[")[0],
            "form": "full" if FULL else "short",
            "seed": _seeds.get(_test()),
            "figures": figures,
        }
        path = Path(directory) / f"{case}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=2) + "\n")


def _test() -> str:
    """The test that runs, as pytest names it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
