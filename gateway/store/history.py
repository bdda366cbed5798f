"""History: a durable subscriber with a database of its own, and queries over what it keeps.

A sample is in exactly one place: an open buffer, a buffer on its way to the disk, or a chunk. The
cursor is committed with the chunks; each stream remembers the last sequence it has stored, so
that reading the journal again after a crash stores nothing twice.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gateway.core.contracts import Reading, Value
from gateway.io.sqlite import Database, statements
from gateway.store import chunks
from gateway.store.buffers import ROWS, Buffer, Key, Stream
from gateway.store.points import DEFAULT_BUCKETS, Aggregate, Points, aggregate, pairs, shape

log = logging.getLogger(__name__)

_SQL = statements((files(__package__) / "history.sql").read_text())
BUDGET = 16_000_000
"""What all open buffers together may take (bytes)."""
_AGE = 3_600.0
_LOOK = 15.0


class History:
    """See the module. position: the journal must be read again from this sequence.
    reached: the sequence after the last sample taken. failing: why nothing can be stored, or "".
    retention: how long samples are kept (s)."""

    def __init__(self, directory: Path, retention: float) -> None:
        self.failing = ""
        self.retention = retention
        migrations = files("gateway.store") / "migrations" / "history"
        self._database = Database(directory / "history.db", migrations)
        rows = self._database.read_now(lambda c: c.execute(_SQL["cursor"]).fetchall())
        self.position: int = rows[0][0] if rows else 0
        self.reached: int = rows[0][1] if rows else 0
        self._streams: dict[Key, Stream] = {}
        self._by_metric: dict[tuple[str, str], list[Stream]] = {}
        self._size = 0
        self._flushes: set[asyncio.Task[None]] = set()
        for row in self._database.read_now(lambda c: c.execute(_SQL["streams"]).fetchall()):
            key = (row[1], tuple(json.loads(row[2])))
            self._know(Stream(key, row[0], row[3], None, [], row[4], row[5], row[6]))

    # -- taking -----------------------------------------------------------------------------

    def add(self, first: int, readings: Sequence[Reading]) -> None:
        """Take readings with the sequences first, first + 1, …"""
        streams = self._streams
        full: list[Stream] = []
        for sequence, reading in enumerate(readings, first):
            key = (reading.device, tuple(reading.values))
            stream = streams.get(key) or self._know(Stream(key))
            if stream.add(sequence, reading) >= ROWS:
                full.append(stream)
                self._flush([stream])
            self._size += 8 + 8 * len(key[1])
        self.reached = max(self.reached, first + len(readings))
        if self._size > BUDGET:
            self._flush(self._largest())

    def _know(self, stream: Stream) -> Stream:
        device, metrics = stream.key
        self._streams[stream.key] = stream
        for metric in metrics:
            self._by_metric.setdefault((device, metric), []).append(stream)
        return stream

    def _largest(self) -> list[Stream]:
        """The streams that hold most, until a quarter of the budget is free again."""
        by_size = sorted(
            (s for s in self._streams.values() if s.open),
            key=lambda s: -s.open.size if s.open else 0,
        )
        total = sum(s.open.size for s in by_size if s.open)
        chosen = []
        for stream in by_size:
            if total <= BUDGET * 3 // 4:
                break
            chosen.append(stream)
            total -= stream.open.size if stream.open else 0
        self._size = total
        return chosen

    def _flush(self, streams: Iterable[Stream]) -> None:
        sealed = [(s, b) for s in streams if (b := s.seal()) is not None]
        if sealed:
            task = asyncio.get_running_loop().create_task(self._store(sealed))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)

    async def _store(self, sealed: list[tuple[Stream, Buffer]]) -> None:
        """Write buffers as chunks, with the cursor, until the disk takes them."""
        while True:
            try:
                ids = await self._database.write(lambda c: self._write(c, sealed))
            except (sqlite3.Error, OSError) as error:
                if not self.failing:
                    log.error("history: cannot be written: %s", error)
                self.failing = str(error)
                await asyncio.sleep(1.0)
                continue
            break
        if self.failing:
            log.warning("history: written again")
            self.failing = ""
        for (stream, buffer), number in zip(sealed, ids, strict=True):
            stream.id = number
            stream.note(buffer)
            stream.sealed.remove(buffer)

    def _write(self, c: sqlite3.Connection, sealed: list[tuple[Stream, Buffer]]) -> list[int]:
        """In the writer thread: chunks, each stream's last sequence, the cursor."""
        ids = []
        for stream, buffer in sealed:
            device, metrics = stream.key
            number = stream.id
            if not number:
                names = json.dumps(metrics)
                number = c.execute(_SQL["add_stream"], (device, names)).fetchone()[0]
            times, columns = chunks.encode(buffer.samples())
            low, high = min(buffer.times), max(buffer.times)
            row = (number, low, high, len(buffer.times), buffer.first, buffer.last, times, columns)
            c.execute(_SQL["add_chunk"], row)
            c.execute(_SQL["reached"], (buffer.last, number))
            ids.append(number)
        written = {id(buffer) for _, buffer in sealed}
        # Before looking at the buffers: a sample taken meanwhile is then beyond it.
        reached = self.reached
        # What this moment's open buffers begin with must be read again after a crash.
        left = [
            buffer.first
            for stream in list(self._streams.values())
            for buffer in stream.pending()
            if id(buffer) not in written
        ]
        c.execute(_SQL["move"], (min(left, default=reached), reached))
        return ids

    async def run(self) -> None:
        """Flush what has been open for an hour; delete what is too old."""
        while True:
            await asyncio.sleep(_LOOK)
            before = time.monotonic() - _AGE
            old = [s for s in self._streams.values() if s.open and s.open.opened < before]
            self._flush(old)
            await self.expire(time.time_ns())

    async def expire(self, now: int) -> None:
        """Delete chunks whose last sample is older than the retention at `now` (ns)."""
        limit = (now - int(self.retention * 1e9),)
        try:
            deleted = 1
            while deleted:  # in small steps, so that chunks can be written in between
                deleted = await self._database.write(
                    lambda c: c.execute(_SQL["expire"], limit).rowcount
                )
        except sqlite3.Error as error:
            log.error("history: old chunks cannot be deleted: %s", error)

    async def flush(self) -> None:
        """Store everything that is open."""
        self._flush(list(self._streams.values()))
        while self._flushes:
            await asyncio.gather(*self._flushes)

    async def close(self, timeout: float = 1.5) -> None:
        """Store what can be stored in `timeout` seconds; the rest is in the journal."""
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
        except TimeoutError:
            log.info("history: the rest is read from the journal at the next start")
        await asyncio.to_thread(self._database.close)

    # -- asking -----------------------------------------------------------------------------

    async def series(self, device: str | None = None) -> list[dict[str, Any]]:
        """Each known metric: device, metric, first, last (ms), count. Raises LookupError."""
        found = [
            self._describe(name, metric, streams)
            for (name, metric), streams in self._by_metric.items()
            if device in (None, name)
        ]
        if device is not None and not found:
            raise LookupError(f'history knows no device "{device}"')
        return found

    def _describe(self, device: str, metric: str, streams: list[Stream]) -> dict[str, Any]:
        times = [t for s in streams for t in (s.first_time, s.last_time) if t]
        count = sum(s.count for s in streams)
        for stream in streams:
            for buffer in stream.pending():
                times += [buffer.times[0], buffer.times[-1]]
                count += len(buffer.times)
        return {
            "device": device,
            "metric": metric,
            "first": min(times, default=0) // 1_000_000 or None,
            "last": max(times, default=0) // 1_000_000 or None,
            "count": count,
        }

    async def query(
        self,
        device: str,
        metric: str,
        start: int,
        end: int,
        points: int | None = None,
        how: str | None = None,
    ) -> Points:
        """[(ms, value)] of one series in [start, end) (ns), ascending.

        points alone: at most so many, of the same shape. how (avg, min, max, sum, count, last):
        over `points` equal buckets (500 if not given), empty ones left out. Neither: every sample.
        Raises LookupError for an unknown series, ValueError where `how` does not fit it.
        """
        streams = self._by_metric.get((device, metric))
        if streams is None:
            raise LookupError(f'history knows no metric "{metric}" of device "{device}"')
        if how is not None and how not in get_args(Aggregate):
            raise ValueError(f'"{how}" is no aggregate; {", ".join(get_args(Aggregate))} are')
        parts = [await self._samples(s, s.key[1].index(metric), start, end) for s in streams]
        return await asyncio.to_thread(
            _answer, [part for own in parts for part in own], start, end, points, how
        )

    async def _samples(self, stream: Stream, place: int, start: int, end: int) -> "list[_Part]":
        # The buffers are noted before the chunks are read: what is stored in between is then seen
        # as a buffer, and its chunk, which has a higher sequence, is not read.
        pending = stream.pending()
        below = pending[0].first if pending else 2**62
        parts: list[_Part] = [
            (samples.times, samples.columns[place])
            for samples in (buffer.samples() for buffer in pending)
        ]
        number = stream.id
        if number:
            args = (number, end, start, below)
            for (chunk,) in await self._database.read(
                lambda c: c.execute(_SQL["overlapping"], args).fetchall()
            ):
                parts.append(await self._database.read(lambda c, n=chunk: _chunk(c, n, place)))  # type: ignore[misc]
        return parts


_Part = tuple[chunks.Times, chunks.Numbers | list[Value]]


def _chunk(c: sqlite3.Connection, number: int, place: int) -> _Part:
    row = c.execute(_SQL["read"], (number,)).fetchone()
    if row is None:  # expired since it was found
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return chunks.decode_times(row[0]), chunks.decode_column(row[1], place)


def _answer(parts: list[_Part], start: int, end: int, points: int | None, how: Any) -> Points:
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
