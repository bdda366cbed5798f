"""Taking readings into history: buffers, and chunks of them with the cursor in one transaction.

A sample is in exactly one place: an open buffer, a buffer on its way to the disk, or a chunk. Each
stream remembers the last sequence it has stored, so that reading the journal again after a crash
stores nothing twice.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.resources import files
from itertools import chain
from pathlib import Path

from gateway.bus.times import Times
from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.store.batching import Batch, Sealed
from gateway.store.buffers import (
    BASE,
    NOWHERE,
    ROWS,
    Buffer,
    Key,
    Origin,
    Stream,
    pack,
    text_size,
)
from gateway.store.checksums import checksum
from gateway.store.loading import SQL, Known, load, metrics_text
from gateway.store.rescuing import RESCUE
from gateway.store.settling import settle_some, write_chunk

log = logging.getLogger(__name__)

BUDGET = 16_000_000
"""What all open buffers and full ones that wait for others may take together (bytes), and again
those on their way to the disk."""
AIM = 5_000_000
"""Above this they are made smaller, where that costs no small chunks (bytes)."""
_LARGE = ROWS // 4  # rows; smaller chunks would wear the card more
MOST_SETS = 100
"""Sets of metrics of one device that are kept together; metrics of others are kept one by one."""
_PAGE = 8_192
"""Bytes of a page of the file. A chunk takes some 2.4 kB: in a page of 4,096 there would be one,
and the rest would stay empty."""
_RETRY = 1.0
_SOON = 2.0  # how long the journal waits for us before it deletes (s)


def _are_numbers(readings: Sequence[Reading]) -> bool:
    """Whether all values of all these are floats."""
    values = chain.from_iterable([reading.values.values() for reading in readings])
    return set(map(type, values)) == {float}


class Taking:
    """The part of History that takes readings; see gateway.store.history for its attributes."""

    def __init__(self, directory: Path) -> None:
        self.failing = ""
        self.damaged: set[int] = set()
        self.times = Times()
        migrations = files("gateway.store") / "migrations" / "history"
        self.database = Database(directory / "history.db", migrations, RESCUE, _PAGE)
        self._flushes: set[asyncio.Task[None]] = set()
        self._batch: Batch | None = None
        self._storing = asyncio.Lock()
        self._load()

    def _load(self) -> Known:
        known = self.database.load(load)
        self.generation = self.database.generation
        self.position: int = known.position
        self.reached: int = known.reached
        self._read: int = known.position  # the journal has been read up to here
        self.damaged.clear()
        self._streams: dict[Key, Stream] = {}
        self._by_metric: dict[tuple[str, str], list[Stream]] = {}
        self._sets: dict[str, int] = {}  # how many sets of metrics each device has
        self._size = 0
        self._limit = min(AIM, BUDGET)
        self._waiting = 0
        self._hurry()
        self._batch = None
        self._unsettled = known.unsettled
        self._salvaged = any(stream.claims or stream.kept for stream in known.streams)
        for stream in known.streams:
            self._know(stream)
        return known

    # -- taking -----------------------------------------------------------------------------

    def add(self, first: int, readings: Sequence[Reading], origin: Origin = NOWHERE) -> None:
        """Take readings with the sequences first, first + 1, … origin: what the times of those
        that are marked come from, if they can still be put right."""
        careful = origin is not NOWHERE or self._salvaged
        if not careful and _are_numbers(readings):
            self._add_numbers(first, readings)
        else:
            for sequence, reading in enumerate(readings, first):
                self._add(sequence, reading, origin, careful)
        self._has_read(first + len(readings))

    def _has_read(self, end: int) -> None:
        self._read = end
        self.reached = max(self.reached, end)
        if self._size > self._limit:
            self._relieve()

    def _relieve(self) -> None:
        """Take less memory: pack what can be packed; then flush what is large already, and above
        the budget whatever is largest."""
        aim = min(AIM, BUDGET) * 7 // 8
        self._size = self._held()
        pack((s.open for s in self._streams.values() if s.open), self._size - aim)
        self._size = self._held()
        if self._size > aim:
            self._flush(self._largest(aim, _LARGE))
        if self._size > BUDGET:
            self._flush(self._largest(BUDGET * 3 // 4))
        # Not with each burst, where all that helps is to wait.
        self._limit = min(max(AIM, self._size + AIM // 8), BUDGET)

    def _held(self) -> int:
        """Bytes that are open, or wait for others."""
        batch = self._batch
        waiting = batch.size if batch is not None and not batch.hurried else 0
        return waiting + sum(s.open.size for s in self._streams.values() if s.open)

    def _add_numbers(self, first: int, readings: Sequence[Reading]) -> None:
        """The same where nothing is to be looked at twice, in half the time: nearly always."""
        find, added = self._streams.get, 0
        for sequence, reading in enumerate(readings, first):
            names = tuple(reading.values)
            stream = find((reading.device, names))
            buffer = stream.open if stream is not None else None
            if buffer is None or buffer.mixed is not None or sequence <= buffer.last:
                self._add(sequence, reading, NOWHERE, careful=False)
                continue
            buffer.last = sequence
            buffer.times.append(reading.time)
            buffer.numbers.extend(reading.values.values())  # type: ignore[arg-type]
            added += 1 + len(names)
            if len(buffer.times) >= buffer.room and stream is not None:
                self._seal([stream])
        self._size += 8 * added

    def _add(self, sequence: int, reading: Reading, origin: Origin, careful: bool) -> None:
        if not reading.values:
            return
        key = (reading.device, tuple(reading.values))
        stream = self._streams.get(key) or self._met(key)
        if stream is None:
            self._apart(sequence, reading, origin)
            return
        if careful and not stream.fits(sequence, origin):
            self._seal([stream])
        held = stream.add(sequence, reading, origin)
        if held >= ROWS:
            self._seal([stream])
        elif held == 1:
            self._size += BASE
        self._size += 8 + 8 * len(key[1])
        if stream.open is not None and stream.open.mixed is not None:
            self._size += 62 * len(key[1]) + text_size(reading)

    def _met(self, key: Key) -> Stream | None:
        """A stream for another set of metrics of a device; None where it has too many of them:
        there are more sets than anybody could keep, but not more metrics."""
        device, metrics = key
        if len(metrics) > 1 and self._sets.get(device, 0) >= MOST_SETS:
            return None
        return self._know(Stream(key))

    def _apart(self, sequence: int, reading: Reading, origin: Origin) -> None:
        """Each metric in a stream of its own."""
        for metric, value in reading.values.items():
            single = Reading(reading.device, reading.time, {metric: value}, reading.flags)
            self._add(sequence, single, origin, careful=True)

    def _know(self, stream: Stream) -> Stream:
        device, metrics = stream.key
        self._streams[stream.key] = stream
        self._sets[device] = self._sets.get(device, 0) + (len(metrics) > 1)
        for metric in metrics:
            self._by_metric.setdefault((device, metric), []).append(stream)
        return stream

    def _largest(self, aim: int, least: int = 1) -> list[Stream]:
        """The streams that hold most, and not fewer rows than `least`, until no more than `aim` is
        held. What waits for others goes first."""
        self._hurry()
        self._size = self._held()
        able = [(s.open.size, s) for s in self._streams.values() if s.open and s.open.rows >= least]
        able.sort(key=lambda pair: -pair[0])
        chosen = []
        for size, stream in able:
            if self._size <= aim:
                break
            chosen.append(stream)
            self._size -= size
        return chosen

    @property
    def flushing(self) -> int:
        """How many writes are on their way to the disk."""
        return len(self._flushes)

    async def room(self) -> None:
        """Wait while more than the budget is on its way to a disk that does not take it: the
        journal keeps it, memory need not."""
        while self._waiting > BUDGET and self._flushes:
            await asyncio.wait(self._flushes, return_when=asyncio.FIRST_COMPLETED)

    def _seal(self, streams: Iterable[Stream]) -> None:
        """Let what these have open be stored, along with others if it can wait for them."""
        self._send([(s, b) for s in streams if (b := s.seal()) is not None])

    def _send(self, sealed: list[Sealed]) -> None:
        if not sealed:
            return
        self._waiting += sum(buffer.size for _, buffer in sealed)
        if self._batch is None:
            self._batch = Batch(BUDGET // 4)
            task = asyncio.get_running_loop().create_task(self._store(self._batch, self.generation))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        self._batch.add(sealed)

    def _flush(self, streams: Iterable[Stream]) -> None:
        """Let what these have open be stored now, with all that waits."""
        self._seal(streams)
        self._hurry()

    def _hurry(self) -> None:
        if self._batch is not None:
            self._batch.hurry()

    async def _store(self, batch: Batch, generation: int) -> None:
        """Write buffers as chunks, with the cursor, until the disk takes them."""
        await batch.due()
        # One after the other: a stream's mark must not pass samples that are not stored yet.
        async with self._storing:
            if self._batch is batch:
                self._batch = None
            ids: list[int] | None = None
            while ids is None:
                if generation != self.generation:
                    return  # the journal is read again: these come once more
                try:
                    ids = await self.database.write(lambda c: self._write(c, batch.buffers))
                except (sqlite3.Error, OSError) as error:
                    await self._refused(error)
            if self.failing:
                log.warning("history: written again")
                self.failing = ""
            for (stream, buffer), number in zip(batch.buffers, ids, strict=True):
                stream.id = number
                stream.note(buffer, self._shift(buffer))
                stream.sealed.remove(buffer)
                self._waiting -= buffer.size

    async def _refused(self, error: Exception) -> None:
        if not self.failing:
            log.error("history: cannot be written: %s", error)
        self.failing = str(error)
        self._renew()
        await asyncio.sleep(_RETRY)

    def _renew(self) -> None:
        """Where the database was replaced, begin with what it has now."""
        if self.database.generation != self.generation:
            with contextlib.suppress(sqlite3.Error):
                self._load()
                self.failing = ""

    def _write(self, c: sqlite3.Connection, sealed: list[tuple[Stream, Buffer]]) -> list[int]:
        """In the writer thread: chunks, each stream's last sequence, the cursor."""
        ids = []
        for stream, buffer in sealed:
            device, metrics = stream.key
            row = (device, metrics_text(metrics), buffer.last)
            number: int = c.execute(SQL["add_stream"], (*row, checksum(*row))).fetchone()[0]
            for samples, origin in buffer.parts(self._shift(buffer)):
                span = (number, buffer.first, buffer.last)
                write_chunk(c, span, samples, origin, buffer.rolled)
                self._unsettled |= {origin[0]} - {NOWHERE[0]}
            ids.append(number)
        written = {id(buffer) for _, buffer in sealed}
        # Before looking at the buffers: a sample taken meanwhile is then beyond it.
        read, reached = self._read, self.reached
        # What this moment's open buffers begin with must be read again after a crash.
        left = [
            buffer.first
            for stream in list(self._streams.values())
            for buffer in stream.pending()
            if id(buffer) not in written
        ]
        position = min(left, default=read)
        c.execute(SQL["move"], (position, reached, checksum(position, reached)))
        return ids

    # -- putting times right ----------------------------------------------------------------

    def _shift(self, buffer: Buffer) -> int | None:
        return self.times.shift(*buffer.origin) if buffer.marked else 0

    def settle(self, boot: str) -> None:
        """It is known now when `boot` was: put right what was stored of it before."""
        if boot in self._unsettled:
            task = asyncio.get_running_loop().create_task(self._settle(boot))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)

    async def _settle(self, boot: str) -> None:
        job = partial(settle_some, boot=boot, times=self.times)
        generation = self.generation
        while generation == self.generation:
            try:
                while await self.database.write(job):
                    pass
                rows = await self.database.read(lambda c: c.execute(SQL["streams"]).fetchall())
                break
            except (sqlite3.Error, OSError) as error:
                await self._refused(error)
        else:
            return
        by_id = {stream.id: stream for stream in self._streams.values()}
        for number, *_, first, last, _ in rows:
            if number in by_id:
                by_id[number].first_time, by_id[number].last_time = first, last

    async def secure(self, end: int) -> None:
        """Store what came before this sequence, if that can be done soon: the journal is about to
        delete it, and a crash would then lose it."""
        self._flush([s for s in self._streams.values() if s.open and s.open.first < end])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SOON):
                while self._flushes and any(
                    buffer.first < end for s in self._streams.values() for buffer in s.sealed
                ):
                    await asyncio.wait(self._flushes, return_when=asyncio.FIRST_COMPLETED)

    async def flush(self) -> None:
        """Store everything that is open."""
        self._flush(list(self._streams.values()))
        while self._flushes:
            self._hurry()
            await asyncio.gather(*self._flushes)

    async def close(self, timeout: float = 1.5) -> None:
        """Store what can be stored in `timeout` seconds; the rest is in the journal."""
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
        except TimeoutError:
            log.info("history: the rest is read from the journal at the next start")
        await asyncio.to_thread(self.database.close)
