"""Many small chunks made into few large ones, and into rollups; small rollups into larger ones."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gateway.core.contracts import Value
from gateway.store.answers import samples_of
from gateway.store.chunks import Numbers, Samples
from gateway.store.rollups import (
    EVERY,
    MERGED,
    WIDTHS,
    Buckets,
    bit,
    joined,
    read_row,
    row_of,
    singles,
    widened,
)
from gateway.store.rows import Row
from gateway.store.settling import row_of as chunk_of

LARGE = 65_536
"""Values, times among them, that a chunk may have: one is read whole, and kept in memory."""
CHUNKS, SAMPLES = 8, 4_096
"""So many small chunks, or samples in such, are worth a step."""
_NEAR = 3_600_000_000_000  # ns by which chunks may lie apart and still become one


def worth_merging(found: list[tuple[int, ...]], most: int, limit: int | None) -> list[int]:
    """Neighbours among chunks (id, count, rolled, last time, whether it is unsettled, whether it
    was imported) that one step takes, by id; none where it is not worth it. most: samples. limit:
    only those that end before it (ns), and however little that is."""
    able = [not row[4] and (limit is None or row[3] < limit) for row in found]
    samples = sum(row[1] for row, ok in zip(found, able, strict=True) if ok)
    if limit is None and sum(able) < CHUNKS and samples < SAMPLES:
        return []
    chosen: list[tuple[int, ...]] = []
    for row, ok in zip(found, able, strict=True):
        # Never around one that is left out: its sequences would be taken for kept. Nor what was
        # imported, whose sequences are none of the journal's, with what was not.
        alike = not chosen or (row[2], row[5]) == (chosen[0][2], chosen[0][5])
        if chosen and (not ok or not alike or row[1] > most):
            break
        if ok:
            chosen.append(row)
            most -= row[1]
    return [row[0] for row in chosen]


def merged(old: Sequence[Row]) -> list[Row]:
    """What replaces chunks of one stream, in the order of their sequences, that have the same
    rollups: larger chunks, and rows of the levels that did not have them.
    Raises DamagedChunkError."""
    if not old:
        return []
    new: list[Row] = []
    parts: list[Buckets] = []
    for group in _groups(old, [samples_of(row) for row in old]):
        span = (old[0].stream, min(row.first for row, _ in group), max(r.last for r, _ in group))
        samples = _sorted([samples for _, samples in group])
        buckets = singles(samples)
        rolled = EVERY if any(buckets.metrics) else MERGED | old[0].rolled
        new.append(chunk_of(span, samples, rolled))
        if any(buckets.metrics):
            parts.append(widened(buckets, WIDTHS[1]))
    if not parts:
        return new
    whole = joined(parts)
    chunks = [row for row in new if row.rolled == EVERY]
    span_of_all = (min(row.first for row in chunks), max(row.last for row in chunks))
    for level, width in WIDTHS.items():
        whole = widened(whole, width)
        if not old[0].rolled & bit(level):
            new.append(row_of(old[0].stream, level, span_of_all, whole))
    return new


_Group = list[tuple[Row, Samples]]


def _groups(old: Sequence[Row], samples: list[Samples]) -> list[_Group]:
    """Neighbours that become one chunk: of the same kinds of values, near in time, not too many."""
    groups: list[_Group] = [[(old[0], samples[0])]]
    for (_, own_before), (row, own) in pairwise(zip(old, samples, strict=True)):
        group = groups[-1]
        size = (sum(each.length for each, _ in group) + row.length) * (len(own.columns) + 1)
        if size <= LARGE and _kinds(own_before) == _kinds(own) and _is_near(group, row):
            group.append((row, own))
        else:
            groups.append([(row, own)])
    return groups


def _kinds(samples: Samples) -> list[bool]:
    return [isinstance(column, np.ndarray) for column in samples.columns]


def _is_near(group: _Group, row: Row) -> bool:
    """What came a day late would make a chunk that every question about that day must read."""
    low, high = min(each.low for each, _ in group), max(each.high for each, _ in group)
    apart = max(row.low - high, low - row.high, 0)
    return apart <= max(_NEAR, high - low)


def _sorted(parts: list[Samples]) -> Samples:
    """All in the order of time; of one time as they came."""
    times = np.concatenate([part.times for part in parts])
    order = np.argsort(times, kind="stable")
    columns: list[Numbers | list[Value]] = []
    for own in zip(*(part.columns for part in parts), strict=True):
        if isinstance(own[0], np.ndarray):
            columns.append(np.concatenate(own)[order])
        else:
            flat = [value for column in own for value in column]
            columns.append([flat[place] for place in order.tolist()])
    return Samples(times[order], columns)


def joined_rows(old: Sequence[Row]) -> Row | None:
    """Rows of one level as one; None where they would lose what one of them has: the metrics that
    are text differ. Raises DamagedChunkError."""
    parts = [read_row(row) for row in old]
    if len({tuple(metric is None for metric in part.metrics) for part in parts}) > 1:
        return None
    span = (min(row.first for row in old), max(row.last for row in old))
    return row_of(old[0].stream, old[0].level, span, joined(parts))
