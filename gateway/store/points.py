"""Making few points of many: shape-preserving, or aggregates over equal buckets of time."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gateway.core.contracts import Value
from gateway.store.rollups import Buckets

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
    begins = _edges(int(times[0]), int(times[-1]) + 1, limit // 4)
    for _, start, stop in _buckets(times, begins):
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
    begins = _edges(start, end, count)
    return [
        (int(begins[bucket]) // _MS, reduce(first, last))
        for bucket, first, last in _buckets(times, begins)
    ]


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


def _edges(start: int, end: int, count: int) -> Times:
    """Where each of `count` equal buckets of [start, end) begins."""
    # Offsets, for times themselves have more digits than a float.
    offsets = np.arange(count, dtype=np.float64) * ((end - start) / count)
    return start + offsets.astype(np.int64)


def _buckets(times: Times, begins: Times) -> list[tuple[int, int, int]]:
    """The buckets that hold any of the times: which, and where their times begin and end."""
    cuts = [0, *np.searchsorted(times, begins[1:]).tolist(), len(times)]
    return [(bucket, a, b) for bucket, (a, b) in enumerate(pairwise(cuts)) if b > a]


def aggregate_buckets(found: Buckets, how: Aggregate, start: int, end: int, count: int) -> Points:
    """As `aggregate`, of buckets of one metric in order of time; each belongs where it begins."""
    (metric,) = found.metrics
    assert metric is not None  # else samples are asked
    begins = _edges(start, end, count)
    cuts = _buckets(found.start, begins)
    heads = np.array([first for _, first, _ in cuts])
    if how == "last":
        values = metric.last[[last - 1 for _, _, last in cuts]]
    elif how == "min":
        values = np.minimum.reduceat(metric.low, heads)
    elif how == "max":
        values = np.maximum.reduceat(metric.high, heads)
    else:
        values = np.add.reduceat(found.count if how == "count" else metric.total, heads)
        if how == "avg":
            values = values / np.add.reduceat(found.count, heads)
        values = values.astype(np.float64)
    return pairs(begins[[bucket for bucket, _, _ in cuts]], values.tolist())


def shape_buckets(found: Buckets, limit: int) -> Points:
    """As `shape`, of buckets of one metric in order of time. When in a bucket it was lowest is not
    known: half-way is taken."""
    (metric,) = found.metrics
    assert metric is not None  # else samples are asked
    middle = found.first_time + (found.last_time - found.first_time) // 2
    if limit < 4:
        low, high = int(np.argmin(metric.low)), int(np.argmax(metric.high))
        ends = [(int(middle[high]), float(metric.high[high])),
                (int(found.last_time[-1]), metric.last[-1]),
                (int(middle[low]), float(metric.low[low]))]  # fmt: skip
        return _in_order(ends[:limit])
    if len(found.start) * 4 <= limit:
        cuts = [(place, place, place + 1) for place in range(len(found.start))]
    else:
        first, end = int(found.start[0]), int(found.last_time[-1]) + 1
        cuts = _buckets(found.start, _edges(first, end, limit // 4))
    points = []
    for _, first, end in cuts:
        low = first + int(metric.low[first:end].argmin())
        high = first + int(metric.high[first:end].argmax())
        points += [
            (int(found.first_time[first]), metric.first[first]),
            (int(middle[low]), float(metric.low[low])),
            (int(middle[high]), float(metric.high[high])),
            (int(found.last_time[end - 1]), metric.last[end - 1]),
        ]
    return _in_order(points)


def _in_order(points: list[tuple[int, Any]]) -> Points:
    """Points (ns, value) as (ms, value), in order of time, each once."""
    found = dict.fromkeys(sorted(points, key=lambda point: point[0]))
    return [(ns // _MS, v.item() if isinstance(v, np.generic) else v) for ns, v in found]


def pairs(times: Times, values: Sequence[Value]) -> Points:
    """(ms, value) of each."""
    return list(zip((times // _MS).tolist(), values, strict=True))
