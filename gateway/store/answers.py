"""From chunks and buffers to the points that a query asked for."""

import sqlite3
from typing import Any

import msgspec
import numpy as np
import zstandard

from gateway.core.contracts import Value
from gateway.store import chunks
from gateway.store.checksums import is_whole
from gateway.store.loading import SQL
from gateway.store.points import DEFAULT_BUCKETS, Points, aggregate, pairs, shape


class DamagedChunkError(Exception):
    """A chunk is not what was written."""


Part = tuple[chunks.Times, chunks.Numbers | list[Value]]
"""Times (ns) and values of one chunk or buffer."""


def read_chunk(c: sqlite3.Connection, number: int, place: int) -> Part:
    """The times and one metric's values of a chunk. Raises DamagedChunkError, sqlite3.Error."""
    row = c.execute(SQL["read"], (number,)).fetchone()
    if row is None:  # expired since it was found
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    if not is_whole(row):
        raise DamagedChunkError("checksum does not hold")
    try:
        times, values = chunks.decode_times(row[6]), chunks.decode_column(row[7], place)
    except (RuntimeError, ValueError, IndexError, msgspec.MsgspecError, zstandard.ZstdError) as bad:
        raise DamagedChunkError(str(bad)) from bad
    if len(times) != len(values):
        raise DamagedChunkError(f"{len(times)} times for {len(values)} values")
    return times, values


def answer(parts: list[Part], start: int, end: int, points: int | None, how: Any) -> Points:
    """Merge, cut to [start, end), put in order, make few of many."""
    if not parts:
        return []
    times = np.concatenate([part[0] for part in parts])
    order = np.argsort(times, kind="stable")
    order = order[(times[order] >= start) & (times[order] < end)]
    times = times[order]
    values: chunks.Numbers | list[Value]
    if all(isinstance(part[1], np.ndarray) for part in parts):
        values = np.concatenate([part[1] for part in parts])[order]
    else:
        flat = [
            v for _, own in parts for v in (own.tolist() if isinstance(own, np.ndarray) else own)
        ]
        values = [flat[place] for place in order.tolist()]
    if not len(times):
        return []
    if how is not None:
        return aggregate(times, values, how, start, end, points or DEFAULT_BUCKETS)
    if isinstance(values, np.ndarray):
        return pairs(times, values.tolist()) if points is None else shape(times, values, points)
    step = max(1, -(-len(values) // points)) if points else 1
    return pairs(times[::step], values[::step])
