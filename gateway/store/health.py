"""Health history: how each part of the gateway was, and when.

A row says how long a part stayed as it was. What is steady is one row whose end moves; what changes
has a row for each change of its level, and at most one a minute where only the score changes. A
device has rows only for when it was not well, and for more than a minute of not knowing: what is
between them, while the gateway itself was there, was well. Rows wait in memory and are written
every ten minutes: a write wears a card by some 10 kB, and a crash costs the last of them.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from gateway.core.contracts import boottime
from gateway.io.sqlite.database import Database, statements

log = logging.getLogger(__name__)

WHOLE = "gateway/gateway"
"""The part that is the gateway itself."""
_MINUTE = 60 * 10**9
_WAITING = 20_000  # rows that wait for a disk that refuses; the oldest go
_BAD = ("WARNING", "CRITICAL", "FAILED")
_UNKNOWN = "UNKNOWN"
_MOST_WHY = 200  # characters
_SQL = statements((files(__package__) / "health.sql").read_text())


class Stay(NamedTuple):
    """From `since` until `until` (epoch ms) a part was like this. why: what cost it most."""

    since: int
    until: int
    score: int
    level: str
    why: str


@dataclass(slots=True, eq=False)
class _Run:
    """A stay that goes on, or is not written yet; times in ns of CLOCK_BOOTTIME, which is right
    also while the clock is not set. id: of its row. later: what it changed to since."""

    part: str
    since: int
    score: int
    level: str
    why: str
    until: int = 0
    id: int = 0
    later: tuple[int, str] | None = None


class HealthHistory:
    """See the module. retention (s) and rows bound it; every: how often it is written (s). at: the
    epoch ns of a moment of CLOCK_BOOTTIME. trouble: why it cannot be written, or ""."""

    def __init__(
        self, database: Database, at: Callable[[int], int] = lambda moment: moment
    ) -> None:
        self.retention, self.rows, self.every = 30 * 86_400.0, 100_000, 600.0
        self.trouble = ""
        self.dropped = 0
        self._database = database
        self._at = at
        self._runs: dict[str, _Run] = {}
        self._ended: deque[_Run] = deque(maxlen=_WAITING)
        self._changing: set[str] = set()
        self._generation = database.generation
        self._writing = asyncio.Lock()

    def keep(self, retention: float, rows: int, every: float) -> None:
        """Go by other bounds from now on."""
        self.retention, self.rows, self.every = retention, rows, every

    # -- what happens ------------------------------------------------------------------------

    def note(self, part: str, score: int, level: str, why: str = "") -> None:
        """A part is like this from now on."""
        now, run, why = boottime(), self._runs.get(part), why[:_MOST_WHY]
        if run is not None and level in _BAD:
            why = why or run.why  # about to be well again: what it was for is the reason still
        if run is not None and run.level == level:
            if run.score == score:
                run.later = None
                return
            if now - run.since < _MINUTE:
                run.later = (score, why)
                self._changing.add(part)
                return
        self._end(part, now)
        self._runs[part] = _Run(part, now, score, level, why)

    def unknown(self, device: str) -> None:
        """From now on nobody knows how a device is. Kept if that lasts: after each start it is so
        of every device for a moment."""
        self.note(device, 0, _UNKNOWN)

    def end(self, part: str) -> None:
        """Nothing is to be told of a part any more: it is not known, or a device that is well or
        no more."""
        self._end(part, boottime())

    def settle(self) -> None:
        """Go over to what changed within a minute; call now and then."""
        for part in tuple(self._changing):
            run = self._runs.get(part)
            if run is None or run.later is None:
                self._changing.discard(part)
            elif boottime() - run.since >= _MINUTE:
                self._changing.discard(part)
                self.note(part, run.later[0], run.level, run.later[1])

    def _end(self, part: str, now: int) -> None:
        run = self._runs.pop(part, None)
        if run is not None and not _passing(run, now):
            run.until = now
            if len(self._ended) == _WAITING:
                self.dropped += 1
            self._ended.append(run)

    # -- the disk ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Write now and then."""
        while True:
            await asyncio.sleep(self.every)
            await self.saved()

    async def saved(self) -> None:
        """Write what there is; what the disk refuses waits for the next time."""
        try:
            await self._save()
        except (sqlite3.Error, OSError) as error:
            if not self.trouble:
                log.error("health history: cannot be written: %s", error)
            self.trouble = str(error)
        else:
            self.trouble = ""

    async def _save(self) -> None:
        async with self._writing:
            if self._generation != self._database.generation:
                self._generation = self._database.generation
                for run in (*self._runs.values(), *self._ended):
                    run.id = 0  # the file is a new one
            now, ended = boottime(), list(self._ended)
            going = [run for run in self._runs.values() if not _passing(run, now)]
            for run in going:
                run.until = now
            both = [*ended, *going]
            old = [(self._ms(run.until), run.id) for run in both if run.id]
            new = [run for run in both if not run.id]
            rows = [(run.part, *self._stay(run)) for run in new]
            bounds = {"before": self._ms(now) - round(self.retention * 1000), "rows": self.rows}

            def write(connection: sqlite3.Connection) -> list[int]:
                connection.executemany(_SQL["lasts"], old)
                ids = [connection.execute(_SQL["add"], row).lastrowid or 0 for row in rows]
                connection.execute(_SQL["expire"], bounds)
                return ids

            for run, number in zip(new, await self._database.write(write), strict=True):
                run.id = number
            for run in ended:
                if self._ended and self._ended[0] is run:
                    self._ended.popleft()

    def _ms(self, moment: int) -> int:
        return self._at(moment) // 1_000_000

    def _stay(self, run: _Run, now: int | None = None) -> Stay:
        since = self._ms(run.since)
        until = max(self._ms(now or run.until), since)
        return Stay(since, until, run.score, run.level, run.why)

    # -- questions ---------------------------------------------------------------------------

    async def parts(self) -> set[str]:
        """Of which parts there is something. Raises sqlite3.Error."""
        rows = await self._database.read(lambda c: c.execute(_SQL["parts"]).fetchall())
        return {row[0] for row in rows} | self._runs.keys()

    async def of(self, part: str, start: int, end: int) -> list[Stay]:
        """How a part was in [start, end), epoch ms, in order; nothing for when that is not known.
        Raises sqlite3.Error."""
        stays = await self._stays(part, start, end)
        if part.startswith("device/"):
            there = await self._stays(WHOLE, start, end)
            stays = list(_with_well(stays, there))
        return [
            stay._replace(since=max(stay.since, start), until=min(stay.until, end))
            for stay in stays
            if stay.level != _UNKNOWN
        ]

    async def _stays(self, part: str, start: int, end: int) -> list[Stay]:
        asked = {"part": part, "start": start, "end": end}
        rows = await self._database.read(lambda c: c.execute(_SQL["of"], asked).fetchall())
        now = boottime()
        runs = [run for run in (*self._ended, *self._runs.values()) if run.part == part]
        # What is in memory reaches further than its row, or has none yet.
        ids = {run.id for run in runs}
        known = [Stay(*row[1:]) for row in rows if row[0] not in ids]
        known += [self._stay(run, now if self._runs.get(part) is run else None) for run in runs]
        # A row that was just written is not known to be that of its run yet.
        once = {(stay.since, stay.level, stay.score): stay for stay in known}
        return [
            stay
            for stay in sorted(once.values(), key=lambda stay: (stay.since, stay.until))
            if stay.until >= start and stay.since < end
        ]


def _passing(run: _Run, now: int) -> bool:
    """Whether it is what every device is for a moment after each start: of ten thousand of them
    little else would be left in history."""
    return run.level == _UNKNOWN and now - run.since < _MINUTE


def _with_well(stays: Sequence[Stay], there: Sequence[Stay]) -> Iterable[Stay]:
    """A device's stays, and between them that it was well while the gateway was there."""
    spans: list[tuple[int, int]] = []
    for stay in there:  # one after the other without a gap is one
        if spans and stay.since <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(stay.until, spans[-1][1]))
        else:
            spans.append((stay.since, stay.until))
    found = list(stays)
    for begin, finish in spans:
        moment = begin
        for stay in [each for each in stays if each.until > begin and each.since < finish]:
            if stay.since > moment:
                found.append(Stay(moment, stay.since, 100, "EXCELLENT", ""))
            moment = max(moment, stay.until)
        if moment < finish:
            found.append(Stay(moment, finish, 100, "EXCELLENT", ""))
    return sorted(found)


def thinned(stays: Sequence[Stay], start: int, end: int, points: int) -> list[Stay | None]:
    """For each of `points` equal stretches of [start, end) the worst that was there; None where
    nothing is known."""
    width = max((end - start) / points, 1.0)
    found: list[Stay | None] = [None] * points
    for stay in stays:
        first = max(int((stay.since - start) / width), 0)
        last = min(int((max(stay.until - 1, stay.since) - start) / width), points - 1)
        for place in range(first, last + 1):
            known = found[place]
            if known is None or stay.score < known.score:
                found[place] = stay
    return found
