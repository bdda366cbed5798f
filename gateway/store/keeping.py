"""Upkeep of history: larger chunks and rollups at night, retention, space given back.

Each step reads rows one by one, makes others of them outside any transaction, and replaces them
in one short transaction if they are still what was read. So it can end anywhere, and samples that
come meanwhile do not wait.
"""

import asyncio
import logging
import math
import sqlite3
import time
from collections.abc import Iterable, Mapping
from functools import partial

from gateway.io.sqlite.database import Database
from gateway.store import rows
from gateway.store.asking import Asker, Expired
from gateway.store.buffers import Stream
from gateway.store.checksums import checksum
from gateway.store.loading import SQL
from gateway.store.merging import LARGE, joined_rows, merged, worth_merging
from gateway.store.rescuing import forget
from gateway.store.rollups import WIDTHS
from gateway.store.rows import DamagedChunkError, Row

log = logging.getLogger(__name__)

_STEP = 8 * LARGE  # values that one step takes
_ROWS, _BUCKETS = 8, 1_024  # so many rollups with fewer buckets become one
_MOST_BUCKETS = 8_192  # of one row
_PAGES = 128  # given back at once
_PAUSE = 2.0  # times as long as a step took
_DAY = 86_400.0

Old = dict[int, Row]
"""Rows by id."""


class Keeper:
    """See the module. retention: by level, how long its rows are kept (s). max_size: the most
    bytes that rows may take; the oldest go first."""

    def __init__(
        self, database: Database, damaged: set[int], expired: Expired, asker: Asker
    ) -> None:
        self.retention: Mapping[int, float] = {}
        self.max_size = math.inf
        self._database = database
        self._damaged = damaged
        self._expired = expired
        self._asker = asker

    # -- larger chunks, rollups -------------------------------------------------------------

    async def compact(self, streams: Iterable[Stream], before: int) -> None:
        """Go through these streams, as far as they lie before this sequence: what is behind it
        may be read again from the journal. Raises sqlite3.Error, OSError."""
        for stream in streams:
            while stream.id and await self._compact_some(stream, before):
                pass
        await self.give_back()
        await self._database.checkpoint()

    async def _compact_some(self, stream: Stream, before: int, limit: int | None = None) -> bool:
        """One step; whether there may be another. limit: only what ends before it (ns), and
        however little that is."""
        began = time.monotonic()
        done = await self._merge(stream, before, limit)
        for level in WIDTHS:
            done = await self._join(stream, level) or done
        # Others need the disk and the processor as well.
        await asyncio.sleep((time.monotonic() - began) * _PAUSE if done else 0)
        return done

    async def _merge(self, stream: Stream, before: int, limit: int | None) -> bool:
        found = await self._database.read(
            lambda c: c.execute(SQL["to_compact"], (stream.id, before)).fetchall()
        )
        chosen = worth_merging(found, _STEP // (len(stream.key[1]) + 1), limit)
        if not chosen:
            return False
        old = await asyncio.to_thread(self._read, chosen)
        if lost := [number for number in chosen if number in self._damaged]:
            # Nothing can be made of them; retention may have them.
            job = partial(_each, statement=SQL["give_up"], numbers=lost)
            await self._database.write(job)
        try:
            new = await asyncio.to_thread(merged, list(old.values()))
        except DamagedChunkError:
            return await self._find_damage(old)
        return await self._replace(stream, old, new, before) or bool(lost)

    async def _join(self, stream: Stream, level: int) -> bool:
        """Rollups that are small, as one."""
        asked = (stream.id, level, _BUCKETS)
        found = await self._database.read(lambda c: c.execute(SQL["to_join"], asked).fetchall())
        found = [row for row in found if row[0] not in self._damaged]
        found = [row for row in found if row[2] == found[-1][2]]  # imported, or not
        if len(found) < _ROWS:
            return False
        most, chosen = _MOST_BUCKETS, []
        for number, count, _ in found:
            most -= count
            if most >= 0:
                chosen.append(number)
        old = await asyncio.to_thread(self._read, chosen)
        try:
            new = await asyncio.to_thread(joined_rows, list(old.values()))
        except DamagedChunkError:
            return await self._find_damage(old)
        if new is None or len(old) < _ROWS:
            return False
        return await self._replace(stream, old, [new], 0)

    def _read(self, numbers: list[int]) -> Old:
        """In a thread: these rows, but for those that are gone or damaged; those are noted."""
        found: Old = {}
        for number in numbers:
            try:
                row = self._database.read_now(partial(rows.read, number=number))
            except DamagedChunkError as error:
                log.error("history: chunk %d is damaged and skipped: %s", number, error)
                self._damaged.add(number)
            else:
                if row is not None:
                    found[number] = row
        return found

    async def _find_damage(self, old: Old) -> bool:
        """Note which of these it is that cannot be made anything of."""
        before = len(self._damaged)
        for number, row in old.items():
            try:
                await asyncio.to_thread(joined_rows if row.level else merged, [row])
            except DamagedChunkError as error:
                log.error("history: chunk %d is damaged and skipped: %s", number, error)
                self._damaged.add(number)
        return len(self._damaged) > before

    async def _replace(self, stream: Stream, old: Old, new: list[Row], before: int) -> bool:
        """Put rows in place of others of a stream; False where those have changed, or where the
        journal is to be read again from before this sequence."""
        if not old:
            return False
        async with self._asker.moving:
            stream.moves += 1
            try:
                return await self._database.write(
                    partial(_replace, old=old, new=new, before=before)
                )
            finally:
                stream.moves += 1

    async def renew_rollups(self) -> None:
        """Delete rollups that were found damaged; they are made again. Raises sqlite3.Error."""

        def job(c: sqlite3.Connection) -> list[int]:
            levels = [(n, c.execute(SQL["level"], (n,)).fetchone()) for n in self._damaged]
            numbers = [number for number, level in levels if level is not None and level[0]]
            if numbers:
                forget(c, numbers)
            return [*numbers, *(number for number, level in levels if level is None)]

        if self._damaged:
            async with self._asker.moving:
                self._expired.moves += 1
                try:
                    self._damaged.difference_update(await self._database.write(job))
                finally:
                    self._expired.moves += 1

    # -- retention --------------------------------------------------------------------------

    async def expire(self, now: int, streams: Mapping[int, Stream], before: int) -> None:
        """Delete rows whose last sample is older than the retention at `now` (ns); chunks are in
        rollups first. streams: by id. Raises sqlite3.Error, OSError."""
        await self.renew_rollups()
        for level, seconds in self.retention.items():
            if seconds < math.inf:
                await self._expire_level(level, now - int(seconds * 1e9), streams, before)
        while await self._is_too_large():
            level, limit = await self._oldest()
            if not await self._expire_level(level, limit, streams, before):
                break

    async def _expire_level(
        self, level: int, limit: int, streams: Mapping[int, Stream], before: int
    ) -> int:
        """Delete rows of a level that end before `limit` (ns); how many."""
        if level == 0:
            waiting = await self._database.read(
                lambda c: c.execute(SQL["to_roll_first"], (limit,)).fetchall()
            )
            for (number,) in waiting:
                if number in streams:
                    await self._compact_some(streams[number], before, limit)
        deleted = 0
        while some := await self._delete(level, limit):  # in steps: others write in between
            deleted += some
        return deleted

    async def _delete(self, level: int, limit: int) -> int:
        """Delete some rows of a level that end before `limit` (ns); how many."""

        def job(c: sqlite3.Connection) -> list[int]:
            asked = {"level": level, "limit": limit}
            deleted = [number for (number,) in c.execute(SQL["expire"], asked)]
            if deleted:
                mark = (level, max(limit, self._expired.until.get(level, 0)))
                c.execute(SQL["note_expired"], (*mark, checksum(*mark)))
            return deleted

        (oldest,) = await self._database.read(
            lambda c: c.execute(SQL["earliest"], (level,)).fetchone()
        )
        if oldest is None or oldest >= limit:
            return 0
        async with self._asker.moving:
            self._expired.moves += 1
            try:
                deleted = await self._database.write(job)
                if deleted:
                    self._expired.until[level] = max(limit, self._expired.until.get(level, 0))
                    self._damaged.difference_update(deleted)  # their numbers are given again
            finally:
                self._expired.moves += 1
        return len(deleted)

    async def _is_too_large(self) -> bool:
        if self.max_size == math.inf:
            return False
        pages, free, size = await self._database.read(_pages)
        return (pages - free) * size > self.max_size

    async def _oldest(self) -> tuple[int, int]:
        """The finest level that has rows, and until when a few of its oldest reach (ns)."""
        for level in self.retention:
            found = await self._database.read(
                lambda c, level=level: c.execute(SQL["oldest"], (level,)).fetchone()  # type: ignore[misc]
            )
            if found[0] is not None:
                return level, found[0] + 1
        return 0, 0

    async def give_back(self) -> None:
        """Give what is free beyond a twentieth back to the disk, in small steps.
        Raises sqlite3.Error, OSError."""
        while True:
            pages, free, _ = await self._database.read(_pages)
            if free <= pages // 20 + _PAGES or not await self._database.write(_vacuum):
                return
            await asyncio.sleep(0)


def _replace(c: sqlite3.Connection, old: Old, new: list[Row], before: int) -> bool:
    (position, *_) = c.execute(SQL["cursor"]).fetchone()
    if position < before:
        return False  # the database was replaced: what it lost would be taken for kept
    for number, row in old.items():
        try:
            if rows.read(c, number) != row:
                return False
        except DamagedChunkError:
            return False
    _each(c, SQL["delete"], list(old))
    for row in new:
        rows.write(c, row)
    return True


def _each(c: sqlite3.Connection, statement: str, numbers: list[int]) -> None:
    c.executemany(statement, [(number,) for number in numbers])


def _pages(c: sqlite3.Connection) -> tuple[int, int, int]:
    """Pages of the file, free ones among them, and bytes of each."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (c.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return pages, free, size


def _vacuum(c: sqlite3.Connection) -> bool:
    """Whether it gave pages back; files of the first version do not."""
    before = _pages(c)
    c.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    return _pages(c)[0] < before[0]


def is_time(now: int, compacted: int, local_hour: int) -> bool:
    """Whether all streams are to be gone through now: once a night, and where the machine was off
    then, later. now, compacted: ns, the latter when that was last done."""
    since = (now - compacted) / 1e9
    return not 0 <= since < _DAY + 3_600 or (local_hour in (2, 3, 4) and since > _DAY / 2)
