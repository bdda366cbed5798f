"""Fewer readings where there are too many to catch up: one of each device and minute."""

import math
import time
from collections.abc import Sequence

from gateway.core.contracts import Batch, Reading, Value

_MINUTE = 60 * 10**9  # ns


def summarise(batch: Batch, after: float) -> None:
    """Of a batch that begins with a reading older than `after` (s), one of each device and minute;
    the others are counted as dropped for that."""
    if not batch or time.time_ns() - batch.readings[0].time < after * 1e9:
        return
    found = summarised(batch.readings)
    if len(found) < len(batch):
        batch.tally.dropped["summarised"] = len(batch) - len(found)
        batch.readings = found


def summarised(readings: Sequence[Reading]) -> list[Reading]:
    """One reading for each device and minute (UTC), in the order of the first of each: numbers are
    averaged (those that are integers stay so, for typed stores), of other values it is the last;
    the time is that of the last, the flags are those that any of them had."""
    groups: dict[tuple[str, int], list[Reading]] = {}
    for reading in readings:
        groups.setdefault((reading.device, reading.time // _MINUTE), []).append(reading)
    return [group[0] if len(group) == 1 else _summary(group) for group in groups.values()]


def _summary(group: Sequence[Reading]) -> Reading:
    values: dict[str, list[Value]] = {}
    flags = 0
    for reading in group:
        flags |= reading.flags
        for metric, value in reading.values.items():
            values.setdefault(metric, []).append(value)
    last = max(group, key=lambda reading: reading.time)
    whole = {metric: _average(found) for metric, found in values.items()}
    return Reading(last.device, last.time, whole, flags)


def _average(values: Sequence[Value]) -> Value:
    last = values[-1]
    kind = type(last)
    if kind not in (int, float):
        return last
    # Not `isinstance`: True would count as 1.
    alike = [value for value in values if type(value) is kind]
    if kind is int:
        return int(sum(alike)) // len(alike)
    # What is not a number says nothing of the others.
    finite = [value for value in alike if math.isfinite(value)]
    return math.fsum(value / len(finite) for value in finite) if finite else last
