"""History on its way out, as a stream of bytes: memory stays bounded, whatever is asked for.

Device by device, set of metrics by set of metrics, in the order of time. Reading goes on only as
fast as somebody takes the bytes; in between nothing is held, no transaction and no lock.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.core.errors import Unavailable
from gateway.core.ids import device_filter
from gateway.store.buffers import Stream
from gateway.store.chunks import Samples
from gateway.store.forms import Form, Moments, writer
from gateway.store.history import History
from gateway.store.stretches import GoneError, Pending, Reader, Stretch

log = logging.getLogger(__name__)

_PIECE = 64 * 1024
_SIGN = 0.5  # how long nothing may be said of how far it is (s)
_TRIES = 50
_AGAIN = 0.02  # s until chunks may have been moved
_PAGE = 3_600 * 10**9  # of an aggregate: so much time is in memory, or one bucket (ns)
_BUCKETS = 10_000  # or so many buckets
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """What of history. devices, metrics: shell patterns. start, end: [start, end), ns. every: ns;
    one value by `aggregate` for each so much time, 0: every sample."""

    form: Form = "csv"
    devices: tuple[str, ...] = ("*",)
    metrics: tuple[str, ...] = ("*",)
    start: int = 0
    end: int = 2**63 - 1
    moments: Moments = "iso"
    every: int = 0
    aggregate: str = "avg"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of the bytes, which may be none. rows: so far. share: how much is done, 0 to 1."""

    data: bytes
    rows: int
    share: float


class Export:
    """One export. series: how many it takes from. rows: lines written so far. damaged: chunks that
    were skipped. no_numbers: series with texts, where an aggregate needs numbers.

    Raises LookupError where nothing fits the selection.
    """

    def __init__(self, history: History, chosen: Selection) -> None:
        self._history = history
        self._chosen = chosen
        self._generation = history.generation
        self._writer = writer(chosen.form, chosen.moments)
        self.media_type, self.suffix = self._writer.media_type, self._writer.suffix
        self.rows = 0
        self.damaged: set[int] = set()
        self.no_numbers = 0
        wants_device, wants_metric = device_filter(chosen.devices), device_filter(chosen.metrics)
        found = [
            (stream, tuple(p for p, metric in enumerate(stream.key[1]) if wants_metric(metric)))
            for stream in sorted(history.streams(), key=lambda stream: stream.key)
            if wants_device(stream.key[0])
        ]
        self._streams = [(stream, places) for stream, places in found if places]
        self._series = sorted({(s.key[0], s.key[1][p]) for s, places in found for p in places})
        self.series = len(self._series)
        if not self.series:
            raise LookupError("history has no series that fits these patterns")

    def totals(self) -> dict[str, Any]:
        """What came of it, for the faces."""
        return {
            "series": self.series,
            "rows": self.rows,
            "damaged": len(self.damaged),
            "unfit": self._writer.unfit,
            "no_numbers": self.no_numbers,
            "remarks": self.remarks(),
        }

    def remarks(self) -> list[str]:
        """What is missing, for people."""
        found = []
        if self.damaged:
            found.append(f"{len(self.damaged)} damaged chunks were skipped")
        if self._writer.unfit:
            found.append(f"{self._writer.unfit} reports were left out: {self._writer.why}")
        if self.no_numbers:
            found.append(f"{self.no_numbers} series were left out: they have texts, not numbers")
        return found

    def note(self) -> bytes:
        """The same at the end of what was written, where the form has a place for it."""
        return b"".join(self._writer.note(remark) for remark in self.remarks())

    async def pieces(self) -> AsyncIterator[Piece]:
        """All of it. Raises Unavailable where it cannot be read on."""
        waiting, since = bytearray(self._writer.head), time.monotonic()
        source = self._buckets() if self._chosen.every else self._samples()
        async with aclosing(source):  # type: ignore[type-var]
            async for data, share in source:
                waiting += data
                if len(waiting) >= _PIECE or time.monotonic() - since > _SIGN:
                    yield Piece(bytes(waiting), self.rows, share)
                    waiting.clear()
                    since = time.monotonic()
        yield Piece(bytes(waiting), self.rows, 1.0)

    async def _samples(self) -> AsyncIterator[tuple[bytes, float]]:
        count = len(self._streams)
        for number, (stream, places) in enumerate(self._streams):
            metrics = [stream.key[1][place] for place in places]
            place, end = self._chosen.start, self._chosen.end
            begun = 0
            while place < end:
                data, rows, first, place = await self._next(stream, places, metrics, place)
                begun = begun or first
                self.rows += rows
                whole = (stream.last_time or place) - begun
                within = (
                    (min(place, stream.last_time) - begun) / whole if begun and whole > 0 else 1
                )
                yield data, (number + min(max(within, 0.0), 1.0)) / count

    async def _next(
        self, stream: Stream, places: tuple[int, ...], metrics: list[str], start: int
    ) -> tuple[bytes, int, int, int]:
        """The next stretch of a stream: bytes, rows, its first time, where it ends."""
        history, end = self._history, self._chosen.end
        device = stream.key[0]

        def work(reader: Reader, pending: Pending) -> tuple[bytes, int, int, Stretch]:
            stretch = reader.read(start, end, pending)
            if not len(stretch.samples.times):
                return b"", 0, 0, stretch
            data, rows = self._writer.write(device, metrics, stretch.samples)
            return data, rows, int(stretch.samples.times[0]), stretch

        for _ in range(_TRIES):
            # The buffers are noted before the chunks are listed: what is stored in between is
            # seen as a buffer, and its chunk, which begins with the same sequence, is not read.
            moves, pending = stream.moves, history.pending(stream)
            reader = Reader(history.database, stream.id, places)
            try:
                data, rows, first, stretch = await asyncio.to_thread(work, reader, pending)
            except GoneError:
                continue
            except (sqlite3.Error, OSError) as error:
                raise await self._unreadable(error) from error
            if self._generation != history.generation:
                break
            if moves % 2 or moves != stream.moves:
                await asyncio.sleep(_AGAIN)
                continue  # chunks became others meanwhile: some would come twice
            self.damaged.update(stretch.damaged)
            history.damaged.update(stretch.damaged)
            return data, rows, first, stretch.end
        raise Unavailable("history changed under the export", fix="export again")

    async def _unreadable(self, error: Exception) -> Unavailable:
        database = self._history.database
        if isinstance(error, sqlite3.Error) and database.is_damage(error):
            try:
                await asyncio.to_thread(database.repair, error, self._generation)
            except (sqlite3.Error, OSError) as refused:
                log.error("history: cannot be put right: %s", refused)
        return Unavailable(f"history cannot be read: {error}", fix="export again; berrygate doctor")

    # -- one value for each so much time --------------------------------------------------------

    async def _buckets(self) -> AsyncIterator[tuple[bytes, float]]:
        for number, (device, metric) in enumerate(self._series):
            start, end = await self._span(device, metric)
            whole, begin = max(end - start, 1), start
            while start < end:
                stop = min(start + self._page, end)
                samples = await self._page_of(device, metric, start, stop)
                if samples is None:
                    break
                data, rows = self._writer.write(device, [metric], samples)
                self.rows += rows
                start = stop
                yield data, (number + (start - begin) / whole) / self.series

    @property
    def _page(self) -> int:
        every = self._chosen.every
        return every * min(max(1, _PAGE // every), _BUCKETS)

    async def _span(self, device: str, metric: str) -> tuple[int, int]:
        """The buckets that can hold anything: from where on, and until when (ns)."""
        known = [each for each in await self._series_of(device) if each["metric"] == metric]
        one = next(iter(known), None)
        if one is None or one["first"] is None:
            return 0, 0
        every = self._chosen.every
        start = max(self._chosen.start, one["first"] * _MS)
        end = min(self._chosen.end, (one["last"] + 1) * _MS)
        return start - start % every, end - end % -every

    async def _series_of(self, device: str) -> list[dict[str, Any]]:
        try:
            return await self._history.series(device)
        except LookupError as error:  # it was there when the export began
            raise Unavailable(f"history changed under the export: {error}") from error

    async def _page_of(self, device: str, metric: str, start: int, end: int) -> Samples | None:
        """The buckets of [start, end); None where the metric has texts, and a mean of them is
        asked for."""
        count = (end - start) // self._chosen.every
        try:
            points = await self._history.query(
                device, metric, start, end, count, self._chosen.aggregate
            )
        except ValueError:
            self.no_numbers += 1
            return None
        except (sqlite3.Error, OSError) as error:
            raise await self._unreadable(error) from error
        if self._generation != self._history.generation:
            raise Unavailable("history changed under the export", fix="export again")
        times = np.array([ms * _MS for ms, _ in points], dtype=np.int64)
        return Samples(times, [[value for _, value in points]])
