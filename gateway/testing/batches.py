"""What a bridge is given to send."""

import math
import time
from collections.abc import Mapping, Sequence

from gateway.core.contracts import Batch, Reading, Value
from gateway.core.errors import Rejected
from gateway.testing.verdict import unfit

_SIZE = 20
_DEVICES = 4
_PLAIN: Mapping[str, Value] = {"temperature": 21.5, "door": True, "mode": "eco"}
ODD: Sequence[Mapping[str, Value]] = (
    {"text": 'a "b" \\ c, d=e'},
    {"text": "two\nlines\r\n\ttab"},
    {"text": "ä µ 温度 😀"},
    {"text": ""},
    {"text": "\0\x1b[31m"},
    {"text": "x" * 70_000},
    {"with space, comma=equals": 1.0},
    {"a.b.c": 1.0},
    {"number": math.nan, "other": 1.0},
    {"number": math.inf},
    {"number": 1e308},
    {"big": 2**63},
)
"""Values that a reading may have, and that are easily forgotten."""


def batch(number: int, values: Mapping[str, Value] = _PLAIN) -> Batch:
    """A batch of readings; those of another number are others."""
    now = time.time_ns()
    readings = [
        Reading(f"device-{place % _DEVICES}", now + place * 1_000_000, dict(values))
        for place in range(number * _SIZE, (number + 1) * _SIZE)
    ]
    return Batch(1, _SIZE + 1, readings)


def mixed(refused: Mapping[str, Value]) -> tuple[Batch, list[int]]:
    """A batch of which two readings have these values; and their places."""
    work, bad = batch(0), [3, 11]
    for place in bad:
        work.readings[place].values = dict(refused)
    return work, bad


def check_indices(error: Rejected, count: int) -> None:
    """Raises Unfit unless what was rejected is named properly."""
    indices = error.indices
    if indices is None:
        return
    fix = "indices are places in batch.readings, from 0, each once; None if that is not known"
    if not indices or len(set(indices)) < len(indices):
        unfit(f"Rejected has indices {list(indices)}", fix)
    if any(not isinstance(each, int) or not 0 <= each < count for each in indices):
        unfit(f"Rejected has indices {list(indices)} of a batch of {count}", fix)
    if set(error.reasons) - set(indices):
        unfit(f"Rejected gives reasons for {sorted(error.reasons)}", "only for those in indices")


def check_unchanged(work: Batch, readings: Sequence[Reading]) -> None:
    """Raises Unfit if a batch is not what it was: it may have to be sent again, elsewhere."""
    if work.readings != list(readings):
        unfit("send() changes the batch", "copy what is to be changed")
