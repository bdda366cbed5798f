"""History on its way in, from line protocol: into history only, not to bridges or the journal.

Reports become chunks like those of readings, without sequences of the journal. A value that
history had of the same device, metric and time before the import began is not stored again: a file
can be imported twice, and after an import that broke off. What is told as stored is on the disk.
"""

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.codecs.line_parser import LineParser, Lines, Point, Precision, Refused
from gateway.codecs.reports import MAX_NAME
from gateway.core.contracts import Reading, Value
from gateway.core.errors import DecodeError, Unavailable
from gateway.store.buffers import NOWHERE, ROWS, Buffer, Key, Stream, text_size
from gateway.store.checksums import checksum
from gateway.store.chunks import Samples
from gateway.store.comparing import unknown
from gateway.store.devices import IMPORTED, Devices
from gateway.store.history import History
from gateway.store.loading import metrics_text
from gateway.store.settling import write_chunk
from gateway.store.stretches import SQL, merged
from gateway.store.taking import BUDGET

log = logging.getLogger(__name__)

NO_SEQUENCE = -1
"""Sequence of what does not come through the journal: below 0."""
_MOST_NAME = 256  # of a device (characters)
_AT_ONCE = 64  # chunks in one transaction
_AHEAD = 86_400 * 10**9  # how far ahead of ours a time may be (ns)
_SETTLE = 20.0  # how long new ids may take to be on the disk (s)
_SHOWN = 20  # refused lines that are told of each piece of a file

Mask = npt.NDArray[np.bool_]
Batch = list[tuple[Key, Samples]]


@dataclass(frozen=True, slots=True)
class Options:
    """precision: the unit of times. device_tag: the tag that names the device; "": the measurement
    does. drop_tags: other tags are left out; they are refused otherwise."""

    precision: Precision = "ns"
    device_tag: str = ""
    drop_tags: bool = False


@dataclass(slots=True)
class Counts:
    """Of one import. lines: read. reports: good ones; what is neither stored nor known of them
    still waits. stored: reports on the disk. known: reports that history had already. refused: by
    reason. wrong: the refused lines since they were last told."""

    lines: int = 0
    reports: int = 0
    stored: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[Refused] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """For the faces; refused lines are told once."""
        wrong, self.wrong = self.wrong, []
        return {
            "lines": self.lines,
            "stored": self.stored,
            "known": self.known,
            "refused": self.refused.total(),
            "reasons": dict(self.refused),
            "wrong": [{"line": w.number, "reason": w.reason, "detail": w.detail} for w in wrong],
        }


class Import:
    """One file, or whatever comes piece by piece. Use one at a time."""

    def __init__(self, history: History, devices: Devices, options: Options) -> None:
        self._history = history
        self._devices = devices
        self._options = options
        self._lines = Lines(LineParser(options.precision))
        self._generation = history.generation
        self._now = 0
        self._last = 0
        self._ids: dict[str, str] = {}
        self._called: dict[str, list[str]] = {}
        for device in devices.list():
            self._called.setdefault(device.original, []).append(device.id)
        self._open: dict[Key, Buffer] = {}
        self._size = 0
        self._own: set[int] = set()
        self._sequence = 0  # of the last chunk that was written
        self.counts = Counts()

    async def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take the next bytes; with `last`, store everything. Raises Unavailable where the disk
        refuses; what was told as stored stays."""
        found = await asyncio.to_thread(lambda: list(self._lines.feed(data, last=last)))
        # The clock may not be set; history's is then the latest that is sure.
        self._now = max(time.time_ns(), self._history.now())
        for number, said in found:
            try:
                if isinstance(said, Refused):
                    self._refuse(said)
                else:
                    self._take(said)
            except DecodeError as error:
                self._refuse(Refused(number, error.reason, str(error)))
        self.counts.lines = self._lines.number
        await self._store(list(self._open) if last else self._due())

    def _due(self) -> list[Key]:
        """Those that are full, and where all together take too much, the larger half of them."""
        due = [key for key, buffer in self._open.items() if len(buffer.times) >= ROWS]
        if self._size > BUDGET:
            by_size = sorted(self._open, key=lambda key: -self._open[key].size)
            due = by_size[: len(by_size) // 2 + 1]
        return due

    def _refuse(self, line: Refused) -> None:
        self.counts.refused[line.reason] += 1
        if len(self.counts.wrong) < _SHOWN:
            self.counts.wrong.append(line)

    def _take(self, point: Point) -> None:
        device, values = self._named(point)
        moment = self._sane(point.time)
        reading = Reading(device, moment, self._devices.admit(device, values))
        key = (device, tuple(values))
        buffer = self._open.get(key)
        if buffer is None:
            buffer = self._open[key] = Buffer(NO_SEQUENCE, len(values))
            self._size += buffer.size
        buffer.add(NO_SEQUENCE, reading)
        self._size += 8 + 8 * len(values)
        if buffer.mixed is not None:
            self._size += 62 * len(values) + text_size(reading)
        self.counts.reports += 1

    def _named(self, point: Point) -> tuple[str, dict[str, Value]]:
        """The device's id, and the values by the names of its metrics."""
        name, values, tag = point.measurement, point.values, self._options.device_tag
        if tag:
            if tag not in point.tags:
                raise DecodeError(f'no tag "{tag}"', reason="device")
            values = {
                name if field == "value" else f"{name}.{field}": value
                for field, value in values.items()
            }
            for metric in values:
                if len(metric) > MAX_NAME or not metric.isprintable():
                    raise DecodeError(f"bad metric name {metric[:40]!r}", reason="metric")
            name = point.tags[tag]
        if not self._options.drop_tags:
            for key, value in point.tags.items():
                if key != tag and (key, value) != ("clock", "unsynced"):
                    raise DecodeError(f'tag "{key}" has no place in history', reason="tag")
        return self._ids.get(name) or self._learn(name), values

    def _learn(self, name: str) -> str:
        """The id of the device that is meant: it is the id, or what one device is called at its
        source, or it is a new one. Raises DecodeError."""
        if len(name) > _MOST_NAME:
            raise DecodeError(f"a device's name of {len(name)} characters", reason="device")
        called = self._called.get(name, ())
        try:
            device = self._devices.get(name).id
        except LookupError:
            device = called[0] if len(called) == 1 else self._devices.id_of(name, IMPORTED)
        self._ids[name] = device
        return device

    def _sane(self, given: int | None) -> int:
        if given is None:
            self._last = max(self._last + 1, self._now)  # never one time twice
            return self._last
        if given < self._history.now() - int(self._history.retention * 1e9):
            raise DecodeError("older than history.retention: it would be deleted", reason="old")
        if given > self._now + _AHEAD:
            raise DecodeError("more than a day ahead of now", reason="time")
        return given

    # -- storing --------------------------------------------------------------------------------

    async def _store(self, keys: list[Key]) -> None:
        if not keys:
            return
        batch: Batch = []
        for key in keys:
            buffer = self._open.pop(key)
            samples = buffer.samples()
            batch.append((key, merged([samples], len(key[1]))))
            if len(batch) == _AT_ONCE:
                await self._write(batch)
                batch = []
        await self._write(batch)
        self._size = sum(buffer.size for buffer in self._open.values())

    async def _write(self, batch: Batch) -> None:
        if not batch:
            return
        if not self._devices.settled:
            await self._settle()
        try:
            fresh: Batch = []
            for key, samples in batch:
                own = await unknown(self._history, key, samples, self._own)
                stored = sum(len(part.times) for _, part in own)
                fresh += own
                self.counts.known += len(samples.times) - stored
            await self._keep(self._apart(fresh))
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"history cannot be written: {error}", fix="berrygate doctor; then import it again"
            ) from error
        self.counts.stored += sum(len(samples.times) for _, samples in fresh)

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(_SETTLE):
                await self._devices.settle()
        except TimeoutError as error:
            trouble = self._devices.trouble or "the disk does not answer"
            raise Unavailable(f"new devices cannot be stored: {trouble}") from error

    def _apart(self, batch: Batch) -> list[tuple[Stream, Samples]]:
        """With their streams; each metric in one of its own where a device has too many sets."""
        parts = []
        for (device, metrics), samples in batch:
            stream = self._history.stream((device, metrics))
            if stream is not None:
                parts.append((stream, samples))
                continue
            for metric, column in zip(metrics, samples.columns, strict=True):
                own = self._history.stream((device, (metric,)))
                assert own is not None, "a single metric always has a stream"
                parts.append((own, Samples(samples.times, [column])))
        return parts

    async def _keep(self, parts: list[tuple[Stream, Samples]]) -> None:
        def job(c: sqlite3.Connection) -> list[tuple[int, int]]:
            (lowest,) = c.execute(SQL["lowest"]).fetchone() if not self._sequence else (0,)
            # Counted downwards: each chunk has its own, so that none is taken for another.
            next_ = min(lowest, self._sequence, 0) - 1
            written = []
            for stream, samples in parts:
                device, metrics = stream.key
                row = (device, metrics_text(metrics), 0)
                c.execute(SQL["known_stream"], (*row, checksum(*row)))
                (number,) = c.execute(SQL["number"], row[:2]).fetchone()
                written.append((number, write_chunk(c, (number, next_, next_), samples, NOWHERE)))
                next_ -= 1
            self._sequence = next_ + 1
            return written

        self._must_be_the_same()
        if not parts:
            return
        written = await self._history.database.write(job)
        self._must_be_the_same()
        for (stream, samples), (number, chunk) in zip(parts, written, strict=True):
            stream.id = number
            stream.count_in(samples.times)
            self._own.add(chunk)

    def _must_be_the_same(self) -> None:
        if self._generation != self._history.generation:
            raise Unavailable("history was damaged and replaced meanwhile", fix="import it again")
