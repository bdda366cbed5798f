"""History: a durable subscriber with a database of its own, and queries over what it keeps.

What it takes is in gateway.store.taking and tables, what it answers in gateway.store.asking, larger
chunks and retention in gateway.store.keeping; what rollups have of a sample is told in
gateway.store.rollups.
"""

import asyncio
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from gateway.store.asking import Asker, Expired, Source
from gateway.store.buffers import Key, Stream
from gateway.store.chunks import Samples
from gateway.store.keeping import Keeper, is_time
from gateway.store.loading import SQL, Known
from gateway.store.planning import Question
from gateway.store.points import Aggregate, Points
from gateway.store.tables import TakingTables

log = logging.getLogger(__name__)

AGE = 3_600.0
"""How long a buffer is open before it is stored (s), unless told otherwise."""
_LOOK = 15.0
_FIRST = 120.0  # s after a start, so that it is over first; and how often the hour is looked at
_DAY = 86_400.0
ROLLUPS = {1: 180 * _DAY, 2: 5 * 365 * _DAY, 3: math.inf}
"""How long rollups are kept unless told otherwise (s), by level."""


class History(TakingTables):
    """See the module. database: where its chunks are. position: the journal must be read again
    from this sequence. reached: the sequence after the last sample taken. failing: why nothing can
    be stored, or "". damaged: chunks (by id) that were skipped because they cannot be read.
    generation: grows when the database was replaced; the journal must be read again then.
    times: what is known of boots.

    age: how long a buffer is open before it is stored (s). What is kept how long is told by `keep`,
    by `now`.
    """

    def __init__(
        self, directory: Path, retention: float, rollups: Mapping[int, float] = ROLLUPS
    ) -> None:
        self._expired = Expired()
        super().__init__(directory)
        self.now: Callable[[], int] = time.time_ns
        self.age = AGE
        self._asker = Asker(self.database, self.damaged, self._expired)
        self._keeper = Keeper(self.database, self.damaged, self._expired, self._asker)
        self.keep(retention, rollups)

    def keep(
        self, retention: float, rollups: Mapping[int, float], max_size: float = math.inf
    ) -> None:
        """How long samples are kept, and rollups by level (s); how large all may become (bytes)."""
        self._keeper.retention = {0: retention, **rollups}
        self._keeper.max_size = max_size

    @property
    def retention(self) -> float:
        """How long samples are kept (s)."""
        return self._keeper.retention[0]

    def _load(self) -> Known:
        known = super()._load()
        self._compacted: int = known.compacted
        self._expired.until = known.expired
        self._expired.moves += 2
        return known

    # -- upkeep -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Store what has been open for long; delete what is too old; at night, make larger
        chunks and rollups of small ones."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_after())
            group.create_task(self._compact_nightly())

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._seal(self._old(time.monotonic()))
            await self.expire(self.now())

    def _old(self, now: float) -> list[Stream]:
        """The streams that have had a buffer open for so long, if there are any with those that
        soon will: one by one they would wear the card most of all."""
        ages = {id(s): now - s.open.opened for s in self._streams.values() if s.open}
        if max(ages.values(), default=0.0) <= self.age:
            return []
        return [s for s in self._streams.values() if ages.get(id(s), 0.0) > self.age * 3 / 4]

    async def _compact_nightly(self) -> None:
        if not self._streams:
            self._compacted = self.now()  # there is nothing to go through yet
        while True:
            await asyncio.sleep(_FIRST)
            now = self.now()
            if is_time(now, self._compacted, time.localtime(now // 10**9).tm_hour):
                await self.compact()

    async def compact(self) -> None:
        """Go through all streams once, in small steps."""
        now = self.now()

        async def job() -> None:
            await self._keeper.compact(list(self._streams.values()), await self._settled_before())
            await self.database.write(lambda c: c.execute(SQL["note_compacted"], (now,)).rowcount)
            self._compacted = now

        await self._try(job(), "chunks cannot be compacted")

    async def expire(self, now: int) -> None:
        """Delete what is older than the retention at `now` (ns)."""

        async def job() -> None:
            by_id = {stream.id: stream for stream in self._streams.values()}
            await self._keeper.expire(now, by_id, await self._settled_before())

        await self._try(job(), "old chunks cannot be deleted")

    async def _try(self, job: Coroutine[Any, Any, None], what: str) -> None:
        try:
            await job
        except (sqlite3.Error, OSError) as error:
            log.error("history: %s: %s", what, error)
            self._renew()

    async def _settled_before(self) -> int:
        """What lies before this sequence is in chunks, and is not read from the journal again."""
        position: int
        (position, *_) = await self.database.read(lambda c: c.execute(SQL["cursor"]).fetchone())
        open_ = (b.first for s in self._streams.values() for b in s.pending())
        return min(position, min(open_, default=position))

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
                times += buffer.ends(self._shift(buffer))
                count += buffer.rows
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
        over `points` equal buckets (500 if not given), empty ones left out. Both may be answered
        from rollups. Neither: every sample.
        Raises LookupError for an unknown series, ValueError where `how` does not fit it.
        """
        if how is not None and how not in get_args(Aggregate):
            raise ValueError(f'"{how}" is no aggregate; {", ".join(get_args(Aggregate))} are')
        asked = Question(device, metric, start, end, points, how)
        generation = self.generation
        try:
            return await self._asker.ask(asked, self._sources(device, metric))
        except sqlite3.DatabaseError as error:
            if not self.database.is_damage(error):
                raise
            await asyncio.to_thread(self.database.repair, error, generation)
            self._renew()
            return await self._asker.ask(asked, self._sources(device, metric))

    def _sources(self, device: str, metric: str) -> list[Source]:
        """The streams that have a series, as they are now; chunks are read after this, so that
        what is stored in between is not missed. Raises LookupError."""
        streams = self._by_metric.get((device, metric))
        if streams is None:
            raise LookupError(f'history knows no metric "{metric}" of device "{device}"')
        return [self._source(stream, stream.key[1].index(metric)) for stream in streams]

    def _source(self, stream: Stream, place: int) -> Source:
        buffers = {}
        for buffer in stream.pending():
            part = buffer.column(place, self._shift(buffer))
            buffers[buffer.first] = (part, buffer.rolled)
        return Source(stream, place, stream.id, buffers)

    # -- whole streams, for exporting.py and importing.py -------------------------------------

    def streams(self) -> list[Stream]:
        """Every stream."""
        return list(self._streams.values())

    def streams_with(self, device: str, metrics: Iterable[str]) -> list[Stream]:
        """A device's streams that hold any of these metrics."""
        found = [s for metric in metrics for s in self._by_metric.get((device, metric), ())]
        return list({id(stream): stream for stream in found}.values())

    def stream(self, key: Key) -> Stream | None:
        """One stream, a new one where there is none yet; None as in `_met`."""
        return self._streams.get(key) or self._met(key)

    def pending(self, stream: Stream) -> list[tuple[int, Samples]]:
        """Copies of what of a stream is not in a chunk: (its first sequence, samples)."""
        return [(b.first, b.samples(self._shift(b))) for b in stream.pending()]
