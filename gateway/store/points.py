"""Making few points of many: shape-preserving, or aggregates over equal buckets of time."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from gateway.core.contracts import Value

Times = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Aggregate = Literal["avg", "min", "max", "sum", "count", "last"]
Points = list[tuple[int, Value]]

DEFAULT_BUCKETS = 500
_MS = 1_000_000


def shape(times: Times, values: Numbers, limit: int) -> Points:
    """At most `limit` of the points, so that a line drawn through them looks the same: of each
    bucket of time the first, the last, the lowest and the highest.

    Source: U. Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation",
    PVLDB 7(10), 2014. times: ns, ascending. Points: (ms, value).
    """
    if len(times) <= limit:
        return pairs(times, values.tolist())
    if limit < 4:
        chosen = [int(np.argmax(values)), len(times) - 1, int(np.argmin(values))][:limit]
        return pairs(times[sorted(set(chosen))], values[sorted(set(chosen))].tolist())
    places: set[int] = set()
    for start, stop in _buckets(times, int(times[0]), int(times[-1]) + 1, limit // 4):
        part = values[start:stop]
        places |= {start, stop - 1, start + int(part.argmin()), start + int(part.argmax())}
    kept = np.array(sorted(places))
    return pairs(times[kept], values[kept].tolist())


def aggregate(
    times: Times,
    values: Sequence[Value] | Numbers,
    how: Aggregate,
    start: int,
    end: int,
    count: int,
) -> Points:
    """One point for each of `count` equal buckets of [start, end) that holds any, at the bucket's
    start. Raises ValueError where `how` does not fit the values."""
    reduce = _reducer(values, how)
    width = (end - start) / count
    points: Points = []
    for first, last in _buckets(times, start, end, count):
        bucket = int((int(times[first]) - start) / width)
        points.append(((start + int(bucket * width)) // _MS, reduce(first, last)))
    return points


def _reducer(values: Sequence[Value] | Numbers, how: Aggregate) -> Callable[[int, int], Value]:
    """What makes one value of the values from one place up to another."""
    if how == "count":
        return lambda first, last: float(last - first)
    if how == "last":
        plain = values.tolist() if isinstance(values, np.ndarray) else values
        return lambda first, last: plain[last - 1]
    if not isinstance(values, np.ndarray):
        if not all(isinstance(value, bool | int | float) for value in values):
            raise ValueError(f'"{how}" needs numbers; this metric has text: use last or count')
        values = np.array(values, dtype=np.float64)
    numbers = values
    functions: dict[str, Callable[[Numbers], np.float64]] = {
        "avg": np.mean,
        "min": np.min,
        "max": np.max,
        "sum": np.sum,
    }
    function = functions[how]
    return lambda first, last: float(function(numbers[first:last]))


def _buckets(times: Times, start: int, end: int, count: int) -> list[tuple[int, int]]:
    """Where the times of each bucket that holds any begin and end."""
    edges = start + np.arange(1, count, dtype=np.float64) * ((end - start) / count)
    cuts = [0, *np.searchsorted(times, edges.astype(np.int64)).tolist(), len(times)]
    return [(a, b) for a, b in pairwise(cuts) if b > a]


def pairs(times: Times, values: Sequence[Value]) -> Points:
    """(ms, value) of each."""
    return list(zip((times // _MS).tolist(), values, strict=True))
