"""From chunks, rollups and buffers to the points that a query asked for."""

from typing import Any

import msgspec
import numpy as np
import zstandard

from gateway.core.contracts import Value
from gateway.store import chunks
from gateway.store.chunks import Samples
from gateway.store.planning import Question
from gateway.store.points import Points, aggregate, aggregate_buckets, pairs, shape, shape_buckets
from gateway.store.rollups import Buckets
from gateway.store.rows import DamagedChunkError, Row

Part = tuple[chunks.Times, chunks.Numbers | list[Value]]
"""Times (ns) and values of one chunk or buffer."""


def part_of(row: Row, place: int) -> Part:
    """The times and one metric's values of a chunk. Raises DamagedChunkError."""
    try:
        times, values = chunks.decode_times(row.times), chunks.decode_column(row.columns, place)
    except (RuntimeError, ValueError, IndexError, msgspec.MsgspecError, zstandard.ZstdError) as bad:
        raise DamagedChunkError(str(bad)) from bad
    if len(times) != len(values):
        raise DamagedChunkError(f"{len(times)} times for {len(values)} values")
    return times, values


def samples_of(row: Row) -> Samples:
    """All of a chunk, in the order of time. Raises DamagedChunkError."""
    try:
        times, width = chunks.decode_times(row.times), chunks.width(row.columns)
    except (RuntimeError, ValueError, msgspec.MsgspecError) as bad:
        raise DamagedChunkError(str(bad)) from bad
    columns = [part_of(row, place)[1] for place in range(width)]
    return Samples(times, columns)


def merged(parts: list[Part], start: int, end: int) -> Part:
    """All in [start, end), in order of time; of one time in the order of the parts."""
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    times = np.concatenate([part[0] for part in parts])
    order = np.argsort(times, kind="stable")
    order = order[(times[order] >= start) & (times[order] < end)]
    if all(isinstance(part[1], np.ndarray) for part in parts):
        return times[order], np.concatenate([part[1] for part in parts])[order]
    flat = [v for _, own in parts for v in (own.tolist() if isinstance(own, np.ndarray) else own)]
    return times[order], [flat[place] for place in order.tolist()]


def answer(parts: list[Part], asked: Question) -> Points:
    """Of samples: cut to what was asked, put in order, make few of many."""
    times, values = merged(parts, asked.start, asked.end)
    how: Any = asked.how
    if not len(times):
        return []
    if how is not None:
        return aggregate(times, values, how, asked.start, asked.end, asked.buckets)
    points = asked.points
    if isinstance(values, np.ndarray):
        return pairs(times, values.tolist()) if points is None else shape(times, values, points)
    step = max(1, -(-len(values) // points)) if points else 1
    return pairs(times[::step], values[::step])


def answer_buckets(found: Buckets, asked: Question) -> Points:
    """Of buckets of one metric, in order of time: as few as were asked for."""
    how: Any = asked.how
    if not len(found.start):
        return []
    if how is not None:
        return aggregate_buckets(found, how, asked.start, asked.end, asked.buckets)
    return shape_buckets(found, asked.points or len(found.start) * 4)
