"""A stream in the order of time, a stretch after the other, each small enough for any memory.

A stretch is cut by time and not by chunks: whatever becomes of chunks while somebody reads (they
are merged, deleted, or come in late), no sample is seen twice. What is gone is not seen.
"""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
import zstandard

from gateway.io.sqlite.database import Database, statements
from gateway.store import chunks, rows
from gateway.store.chunks import Numbers, Samples, Times
from gateway.store.rows import DamagedChunkError

log = logging.getLogger(__name__)

SQL = statements((files(__package__) / "exporting.sql").read_text())
MOST_VALUES = 4_096
"""About how many values are in memory at a time; one chunk may have more. Few, so that readings
that come meanwhile never wait for long."""
_MOST_CHUNKS = 4

Value = float | int | bool | str
Pending = Sequence[tuple[int, Samples]]
"""Of a stream, what is not in a chunk: (its first sequence, samples)."""


class GoneError(Exception):
    """A chunk that was listed is not there any more."""


@dataclass(slots=True)
class Stretch:
    """The samples in a part of the time, in order. end: where the next one begins (ns). damaged:
    chunks that were skipped."""

    samples: Samples
    end: int
    damaged: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Chunk:
    """One chunk as it is stored, its times unpacked."""

    times: Times
    columns: bytes

    def column(self, place: int) -> Numbers | list[Value]:
        """The values of one metric. Raises DamagedChunkError."""
        try:
            values = chunks.decode_column(self.columns, place)
        except _UNPACKING as bad:
            raise DamagedChunkError(str(bad)) from bad
        if len(values) != len(self.times):
            raise DamagedChunkError(f"{len(self.times)} times for {len(values)} values")
        return values


_UNPACKING = (RuntimeError, ValueError, IndexError, msgspec.MsgspecError, zstandard.ZstdError)


def fetch(database: Database, number: int) -> Chunk:
    """A chunk. Blocks, for no longer than it takes to read one. Raises GoneError,
    DamagedChunkError, sqlite3.Error."""
    try:
        row = database.read_now(lambda c: rows.read(c, number))
    except sqlite3.DatabaseError as error:
        if not database.is_damage(error):
            raise
        raise DamagedChunkError(str(error)) from error
    if row is None:
        raise GoneError
    try:
        return Chunk(chunks.decode_times(row.times), row.columns)
    except _UNPACKING as bad:
        raise DamagedChunkError(str(bad)) from bad


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one stream, or some of its metrics. stream: its number; 0 where nothing of it is in
    the database. places: of these metrics in it."""

    database: Database
    stream: int
    places: tuple[int, ...]

    def read(self, start: int, end: int, pending: Pending) -> Stretch:
        """The first stretch of [start, end), ns. Blocks. Raises GoneError: try again, with what
        is pending then; sqlite3.Error."""
        listed, end = self._list(start, end) if self.stream else ([], end)
        seen = {first for first, _ in pending}
        parts: list[Samples] = []
        stretch = Stretch(Samples(np.zeros(0, np.int64), []), end)
        for number, first in listed:
            if first in seen:
                continue
            try:
                chunk = fetch(self.database, number)
                inside = _inside(chunk.times, start, end)
                if inside.any():
                    whole = Samples(chunk.times, [chunk.column(place) for place in self.places])
                    parts.append(whole.where(inside))
            except DamagedChunkError as error:
                log.error("history: chunk %d is damaged and skipped: %s", number, error)
                stretch.damaged.append(number)
        for _, samples in pending:
            inside = _inside(samples.times, start, end)
            if inside.any():
                chosen = [samples.columns[place] for place in self.places]
                parts.append(Samples(samples.times, chosen).where(inside))
        stretch.samples = merged(parts, len(self.places))
        return stretch

    def _list(self, start: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """(number, first sequence) of the chunks of the first stretch, and where that ends."""
        args = {"stream": self.stream, "start": start, "end": end, "most": _MOST_CHUNKS + 1}
        rows = self._rows("next", args)
        total = 0
        for index, (_, low, _, count, _) in enumerate(rows):
            total += count * len(self.places)
            if index and (index == _MOST_CHUNKS or total > MOST_VALUES):
                if low <= start:
                    return self._crowd(start, end)
                rows, end = rows[:index], low
                break
        return [(row[0], row[4]) for row in rows], end

    def _crowd(self, start: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """The same where many chunks lie over each other: all of them, for a short time."""
        args = {"stream": self.stream, "start": start, "end": end, "most": -1}
        rows = self._rows("next", args)
        end = min(end, 1 + max(high for _, low, high, *_ in rows if low <= start))
        width = len(self.places)
        while end > start + 1 and width * _estimate(rows, start, end) > MOST_VALUES:
            end = start + (end - start) // 2
        return [(row[0], row[4]) for row in rows if row[1] < end], end

    def _rows(self, name: str, args: dict[str, int]) -> list[tuple[Any, ...]]:
        return self.database.read_now(lambda c: c.execute(SQL[name], args).fetchall())


def _estimate(rows: Sequence[tuple[Any, ...]], start: int, end: int) -> float:
    """About how many samples of these chunks are in [start, end)."""
    total: float = sum(
        count * (min(high + 1, end) - max(low, start)) / (high + 1 - low)
        for _, low, high, count, _ in rows
        if low < end
    )
    return total


def _inside(times: Times, start: int, end: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    mask: np.ndarray[Any, np.dtype[np.bool_]] = (times >= start) & (times < end)
    return mask


def merged(parts: Sequence[Samples], width: int) -> Samples:
    """One of several, in the order of time; samples of one time stay in the order of `parts`."""
    if not parts:
        return Samples(np.zeros(0, np.int64), [[] for _ in range(width)])
    times = np.concatenate([part.times for part in parts])
    order = np.argsort(times, kind="stable")
    places = order.tolist()
    columns: list[Numbers | list[Value]] = []
    for place in range(width):
        own = [part.columns[place] for part in parts]
        if all(isinstance(column, np.ndarray) for column in own):
            columns.append(np.concatenate(own)[order])
            continue
        flat = [
            v for each in own for v in (each.tolist() if isinstance(each, np.ndarray) else each)
        ]
        columns.append([flat[at] for at in places])
    return Samples(times[order], columns)
