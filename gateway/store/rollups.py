"""Rollups: of each metric and each minute, hour and day the lowest, the highest, the sum, how
many, the first and the last; so that a year is read as quickly as a day.

The rule: a sample is in a chunk of level 0, and the bits in that chunk's `rolled` say which levels
have it too. A step that makes rollups of chunks writes both in one transaction, so nothing is
counted twice or missed, whatever ends the step. A question to a level reads that level's rows,
and of level 0 those without its bit. So

- samples that come late, or out of order, are in a chunk without the bits, and later in a
  rollup row of their own: rows of one level may have the same bucket, and are joined when read;
- times that must still be put right are in no rollup: such chunks are left alone until they are;
- of a damaged database the bits are held against the rows that are left (`mend`), and what is read
  again from the journal gets the bits of the rows that have it already;
- retention deletes a chunk only once its bits are set.

Text has no rollups. A metric that is text in part of what one step takes has none for that step:
what asks for it goes to level 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from gateway.core.contracts import Value
from gateway.store import chunks
from gateway.store.chunks import Column, Numbers, Samples, Times
from gateway.store.rows import DamagedChunkError, Row

WIDTHS = {1: 60_000_000_000, 2: 3_600_000_000_000, 3: 86_400_000_000_000}
"""Nanoseconds of a bucket, by level: a minute, an hour, a day (UTC)."""
NAMES = {1: "minute", 2: "hour", 3: "day"}
MERGED = 8
"""The bit of a chunk that was made as large as chunks get."""
EVERY = 15
"""All bits."""
_SHARED = 2  # columns that all metrics of a row share
_EACH = 3  # columns of each metric
_FEW = 3  # numbers that are smaller without compression

Any1 = npt.NDArray[Any]
"""float64, or Python objects where values are no floats."""


def bit(level: int) -> int:
    """What says in `rolled` that this level has a chunk's samples."""
    return 1 << (level - 1)


@dataclass(slots=True)
class Metric:
    """One metric's part of buckets: an array each."""

    low: Numbers
    high: Numbers
    total: Numbers
    first: Any1
    last: Any1


@dataclass(slots=True)
class Buckets:
    """Buckets of time that hold samples of the same metrics. start: where each begins (ns);
    count: its samples; first_time, last_time: of its earliest and latest (ns). metrics: None is
    one that had text. A single sample can be a bucket that begins at its own time."""

    start: Times
    count: Times
    first_time: Times
    last_time: Times
    metrics: list[Metric | None]

    def between(self, start: int, end: int) -> "Buckets":
        """Those that begin in [start, end)."""
        return self._pick(np.flatnonzero((self.start >= start) & (self.start < end)))

    def _pick(self, places: Any1) -> "Buckets":
        metrics = [
            None if m is None
            else Metric(m.low[places], m.high[places], m.total[places], m.first[places],
                        m.last[places])
            for m in self.metrics
        ]  # fmt: skip
        return Buckets(
            self.start[places],
            self.count[places],
            self.first_time[places],
            self.last_time[places],
            metrics,
        )


def singles(samples: Samples) -> Buckets:
    """Each sample as a bucket of its own, in order of time."""
    times = samples.times
    order = np.argsort(times, kind="stable")
    metrics: list[Metric | None] = []
    for column in samples.columns:
        found = _numbers(column)
        if found is None:
            metrics.append(None)
        else:
            numbers, values = found
            metrics.append(Metric(numbers, numbers, numbers, values, values))
    return Buckets(times, np.ones(len(times), dtype=np.int64), times, times, metrics)._pick(order)


def _numbers(column: Numbers | list[Value]) -> tuple[Numbers, Any1] | None:
    """As floats, and as they are; None for text."""
    if isinstance(column, np.ndarray):
        return column, column
    if not all(isinstance(value, bool | int | float) for value in column):
        return None
    values = np.empty(len(column), dtype=object)
    values[:] = column
    return values.astype(np.float64), values


def widened(found: Buckets, width: int) -> Buckets:
    """The same in buckets of `width` (ns)."""
    start = found.start - found.start % width
    return _merged(Buckets(start, found.count, found.first_time, found.last_time, found.metrics))


def joined(parts: Sequence[Buckets]) -> Buckets:
    """Buckets of the same metrics and width, from several rows in the order of their samples, as
    one. A metric that has text in one of them has none."""
    if len(parts) == 1:
        return parts[0]
    metrics: list[Metric | None] = []
    for place in range(len(parts[0].metrics)):
        own = [part.metrics[place] for part in parts]
        there = [each for each in own if each is not None]
        metrics.append(
            Metric(
                np.concatenate([each.low for each in there]),
                np.concatenate([each.high for each in there]),
                np.concatenate([each.total for each in there]),
                np.concatenate([each.first for each in there]),
                np.concatenate([each.last for each in there]),
            )
            if len(there) == len(own)
            else None
        )
    return _merged(
        Buckets(
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.count for part in parts]),
            np.concatenate([part.first_time for part in parts]),
            np.concatenate([part.last_time for part in parts]),
            metrics,
        )
    )


def _merged(found: Buckets) -> Buckets:
    """In order, and each bucket once. Of samples of one time the later in order is the last."""
    start = found.start
    if len(start) < 2 or bool(np.all(start[1:] > start[:-1])):
        return found
    if all(_ascends(each) for each in (start, found.first_time, found.last_time)):
        by_first = by_last = np.arange(len(start))
    else:
        by_first = np.lexsort((found.first_time, start))
        by_last = np.lexsort((found.last_time, start))
    sorted_ = start[by_first]
    heads = np.flatnonzero(np.concatenate(([True], sorted_[1:] != sorted_[:-1])))
    tails = np.concatenate((heads[1:], [len(start)])) - 1
    first, last = by_first[heads], by_last[tails]
    metrics = [
        None if m is None
        else Metric(
            np.minimum.reduceat(m.low[by_first], heads),
            np.maximum.reduceat(m.high[by_first], heads),
            np.add.reduceat(m.total[by_first], heads),
            m.first[first],
            m.last[last],
        )
        for m in found.metrics
    ]  # fmt: skip
    count = np.add.reduceat(found.count[by_first], heads)
    return Buckets(sorted_[heads], count, found.first_time[first], found.last_time[last], metrics)


def _ascends(values: Times) -> bool:
    return bool(np.all(values[1:] >= values[:-1]))


# -- as rows --------------------------------------------------------------------------------


def row_of(stream: int, level: int, span: tuple[int, int], found: Buckets) -> Row:
    """A row of a level. span: the first and the last sequence that it has all of.

    Of a bucket with one sample only that is kept, and of one with two both: the rest follows.
    """
    low, high = int(found.first_time.min()), int(found.last_time.max())
    two, more = found.count > 1, found.count > 2
    offsets = (found.first_time - found.start, (found.last_time - found.start)[two])
    columns = [_integers(found.count), _integers(np.concatenate(offsets))]
    for metric in found.metrics:
        columns += _columns(metric, found.count, two, more)
    times = chunks.encode_times(found.start)
    return Row(stream, low, high, len(found.start), *span, times, chunks.pack(columns), level)


def _columns(metric: Metric | None, count: Times, two: Any1, more: Any1) -> list[Column]:
    """first and last; low and high; total."""
    if metric is None:
        return [Column("n", b"")] * _EACH
    low, high = metric.low[more], metric.high[more]
    total = _tidy(metric.total[more], count[more], np.maximum(abs(low), abs(high)))
    ends = np.concatenate((metric.first, metric.last[two]))
    return [_any(ends), _floats(np.concatenate((low, high))), _floats(total)]


def read_row(row: Row, place: int | None = None) -> Buckets:
    """The buckets of a row, with all metrics or the one at `place`. Raises DamagedChunkError."""
    try:
        start, columns = chunks.decode_times(row.times), chunks.unpack(row.columns)
        count, offsets = _ints_of(columns[0]), _ints_of(columns[1])
        if not len(start) == len(count) == row.length:
            raise DamagedChunkError(f"it has not the {row.length} buckets that it should have")
        first_time = start + offsets[: row.length]
        last_time = first_time.copy()
        last_time[count > 1] = start[count > 1] + offsets[row.length :]
        places = range((len(columns) - _SHARED) // _EACH) if place is None else (place,)
        metrics = [_metric(columns[_SHARED + _EACH * each :], count) for each in places]
    except (RuntimeError, ValueError, IndexError, msgspec.MsgspecError, zstandard.ZstdError) as bad:
        raise DamagedChunkError(str(bad)) from bad
    return Buckets(start, count, first_time, last_time, metrics)


def _metric(columns: list[Column], count: Times) -> Metric | None:
    """Raises ValueError where the columns are not as long as they should be."""
    ends, sides, total = columns[:_EACH]
    if ends.kind == "n":
        return None
    size, two, more = len(count), count > 1, count > 2
    values, extremes = _any_of(ends), _floats_of(sides)
    first = values[:size]
    last = first.copy()
    last[two] = values[size:]
    begin, end = first.astype(np.float64), last.astype(np.float64)
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    sums = np.where(two, begin + end, begin)
    half = len(extremes) // 2
    low[more], high[more], sums[more] = extremes[:half], extremes[half:], _floats_of(total)
    return Metric(low, high, sums, first, last)


def _tidy(total: Numbers, count: Times, largest: Numbers) -> Numbers:
    """Sums of decimals are decimals, and pack as well as those. What a sum loses by rounding is
    below what adding up may have lost."""
    rounded = np.round(total, 6)
    return np.where(abs(rounded - total) <= 2.3e-16 * count * largest, rounded, total)


def _integers(values: Times) -> Column:
    if len(values) <= _FEW:
        return Column("R", values.astype("<i8").tobytes())
    return Column("i", chunks.encode_times(values))


def _ints_of(column: Column) -> Times:
    if column.kind == "R":
        return np.frombuffer(column.data, dtype="<i8").astype(np.int64)
    return chunks.decode_times(column.data)


def _floats(values: Numbers) -> Column:
    if len(values) <= _FEW:
        return Column("r", values.astype("<f8").tobytes())
    return chunks.column_of(values)


def _floats_of(column: Column) -> Numbers:
    if column.kind == "r":
        return np.frombuffer(column.data, dtype="<f8").astype(np.float64)
    return np.asarray(chunks.values_of(column), dtype=np.float64)


def _any(values: Any1) -> Column:
    return _floats(values) if values.dtype != object else chunks.column_of(values.tolist())


def _any_of(column: Column) -> Any1:
    if column.kind != "v":
        return _floats_of(column)
    found = chunks.values_of(column)
    values = np.empty(len(found), dtype=object)
    values[:] = found
    return values
