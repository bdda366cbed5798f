"""Reading history: samples from chunks and buffers, and rollups where they answer as well.

No read transaction is longer than one row. What is put in place of rows meanwhile is noticed by
`Stream.moves` and `Expired.moves`, and then all is read again.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from gateway.io.sqlite.database import Database
from gateway.store import rows
from gateway.store.answers import Part, answer, answer_buckets, part_of
from gateway.store.buffers import Stream
from gateway.store.chunks import Samples
from gateway.store.loading import SQL
from gateway.store.planning import EXACT, Question, Stretch, level_of, plan
from gateway.store.points import Points
from gateway.store.rollups import WIDTHS, Buckets, bit, joined, read_row, singles, widened
from gateway.store.rows import DamagedChunkError, Row

log = logging.getLogger(__name__)

_EARLIEST, _LATEST = -(2**63), 2**63 - 1


@dataclass(slots=True)
class Expired:
    """until: by level, before when rows may be gone (ns). moves: grows before and after rows are
    deleted."""

    until: dict[int, int] = field(default_factory=dict)
    moves: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """One stream of a series, as it is now. place: of the metric in it. number: in the database.
    buffers: what is not in a chunk yet, by the first sequence of each, and which rollups have it
    all the same. A chunk that begins with such a sequence has been stored since."""

    stream: Stream
    place: int
    number: int
    buffers: dict[int, tuple[Part, int]]


class _NoRollupError(Exception):
    """Rollups cannot answer: the metric has text, or a row is damaged."""


class Asker:
    """See the module. damaged: rows that cannot be read; they are left out. moving: held while
    rows are put in place of others."""

    def __init__(self, database: Database, damaged: set[int], expired: Expired) -> None:
        self.moving = asyncio.Lock()
        self._database = database
        self._damaged = damaged
        self._expired = expired

    async def ask(self, asked: Question, sources: list[Source]) -> Points:
        """The answer, from the streams that have the series. Raises ValueError where `how` does
        not fit it, sqlite3.Error."""
        before = self._moves(sources)
        found = await asyncio.to_thread(self._answer, asked, sources)
        if before % 2 == 0 and before == self._moves(sources):
            return found
        async with self.moving:  # once more, with nothing moving
            return await asyncio.to_thread(self._answer, asked, sources)

    def _moves(self, sources: list[Source]) -> int:
        odd = self._expired.moves % 2 or any(source.stream.moves % 2 for source in sources)
        moves = self._expired.moves + sum(source.stream.moves for source in sources)
        return -1 if odd else moves * 2

    # -- in a thread ------------------------------------------------------------------------

    def _answer(self, asked: Question, sources: list[Source]) -> Points:
        if asked.points is None and asked.how is None:
            return answer(self.samples(sources, asked.start, asked.end), asked)
        level = level_of(asked, self._entries(asked, sources))
        for tried in dict.fromkeys((level, 0)):
            stretches = plan(asked.start, asked.end, tried, self._expired.until)
            if all(stretch.level == 0 for stretch in stretches):
                break
            try:
                found = [self._stretch(each, sources, strict=tried > 0) for each in stretches]
            except _NoRollupError:
                continue
            parts = [part for part in found if len(part.start)]
            return answer_buckets(joined(parts), asked) if parts else []
        return answer(self.samples(sources, asked.start, asked.end), asked)

    def samples(self, sources: list[Source], start: int, end: int) -> list[Part]:
        """Parts that hold all samples in [start, end) and others, in order of their sequences."""
        found = [pair for source in sources for pair in self._samples(source, start, end)]
        return [part for _, part in sorted(found, key=lambda pair: pair[0])]

    def _samples(
        self, source: Source, start: int, end: int, without: int = 0
    ) -> Iterator[tuple[int, Part]]:
        """Each part with its first sequence. without: not those that have this bit."""
        for number, first, _, rolled in self._found(source, 0, start, end):
            if first not in source.buffers and not rolled & without:
                row = self._row(source, number, 0)
                if row is not None:
                    try:
                        yield first, part_of(row, source.place)
                    except DamagedChunkError as error:
                        self._leave_out(number, error)
        for first, (part, rolled) in source.buffers.items():
            if not rolled & without:
                yield first, part

    def _found(
        self, source: Source, level: int, start: int, end: int
    ) -> list[tuple[int, int, int, int]]:
        """Rows that may have something in [start, end): id, first sequence, count, rolled."""
        if not source.number:
            return []
        span = (min(end, _LATEST), max(start, _EARLIEST))
        asked = (source.number, level, *span)
        return self._database.read_now(
            lambda c: c.execute(SQL["overlapping"], asked).fetchall(),
        )

    def _row(self, source: Source, number: int, level: int) -> Row | None:
        """None for one that is gone, or damaged; that is noted."""
        if number in self._damaged:
            return None
        try:
            row = self._database.read_now(partial(rows.read, number=number))
        except (DamagedChunkError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.Error) and not self._database.is_damage(error):
                raise
            self._leave_out(number, error)
            return None
        mine = row is not None and (row.stream, row.level) == (source.number, level)
        return row if mine else None  # its number may be another's by now

    def _leave_out(self, number: int, error: Exception) -> None:
        log.error("history: chunk %d is damaged and skipped: %s", number, error)
        self._damaged.add(number)

    def _entries(self, asked: Question, sources: list[Source]) -> int:
        """About how many samples, or minutes where there are none any more, there are to read."""
        until = self._expired.until.get(0, _EARLIEST)
        entries = max(min(until, asked.end) - asked.start, 0) // WIDTHS[1]
        for source in sources:
            start = max(asked.start, until)
            entries += sum(row[2] for row in self._found(source, 0, start, asked.end))
            entries += sum(len(times) for (times, _), _ in source.buffers.values())
            if entries > max(EXACT, asked.points or 0):
                break
        return entries

    # -- through rollups --------------------------------------------------------------------

    def _stretch(self, stretch: Stretch, sources: list[Source], strict: bool) -> Buckets:
        """One metric's buckets. Raises _NoRollupError for text and, if `strict`, where it would
        have to leave out what is damaged."""
        found: list[tuple[int, Buckets]] = []
        for source in sources:
            found += self._rolled(stretch, source, strict)
            parts = self._samples(
                source, stretch.start, stretch.end, stretch.level and bit(stretch.level)
            )
            for first, (times, values) in parts:
                own = singles(Samples(times, [values])).between(stretch.start, stretch.end)
                found.append((first, own))
        whole = [each for _, each in sorted(found, key=lambda pair: pair[0]) if len(each.start)]
        if any(each.metrics == [None] for each in whole):
            raise _NoRollupError
        if not whole:
            return singles(Samples(np.zeros(0, dtype=np.int64), [np.zeros(0)]))
        if stretch.level:
            whole = [widened(each, WIDTHS[stretch.level]) for each in whole]
        return joined(whole)

    def _rolled(
        self, stretch: Stretch, source: Source, strict: bool
    ) -> Iterator[tuple[int, Buckets]]:
        if stretch.level == 0:
            return
        level = stretch.level
        # Its last bucket may begin before the end and have its first sample behind it.
        end = stretch.end + WIDTHS[level]
        for number, first, *_ in self._found(source, level, stretch.start, end):
            row = self._row(source, number, level)
            if row is None:
                if strict and number in self._damaged:
                    raise _NoRollupError
                continue
            try:
                yield first, read_row(row, source.place).between(stretch.start, stretch.end)
            except DamagedChunkError as error:
                self._leave_out(number, error)
                if strict:
                    raise _NoRollupError from error
