"""Dead letters: what could not be decoded or was refused for good, kept with its reason."""

import asyncio
import hashlib
import json
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec

from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database, statements

log = logging.getLogger(__name__)

_RETRY = 1.0
KEPT_PAYLOAD = 4_096
"""How much of a payload is kept (bytes)."""
QUOTA = 10_000
"""How many dead letters are kept; the oldest go, and are counted."""

_DETAIL = 1_000  # how much of a detail is kept (characters)
_SHOWN = 256  # of a payload or a text, where people look (characters)

_SQL = statements((files(__package__) / "dead_letters.sql").read_text())


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them. stage: decode or deliver; name: the source or bridge; reason: one stable word;
    time: ns; reading: where it was decoded already; size: of the whole payload.

    count: how often that reading was refused for that reason; time: when first, last: when last
    (ns). A source's frames are one letter each: two that are alike may be two measurements.
    """

    stage: str
    name: str
    reason: str
    detail: str = ""
    device: str = ""
    topic: str = ""
    payload: bytes = b""
    time: int = 0
    reading: Reading | None = None
    size: int = 0
    id: int = 0
    count: int = 1
    last: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the API; time in epoch ms, the payload's beginning as text."""
        reading = self.reading
        return {
            "id": self.id,
            "stage": self.stage,
            "name": self.name,
            "reason": self.reason,
            "detail": self.detail,
            "device": self.device,
            "topic": self.topic,
            "payload": self.payload[:_SHOWN].decode(errors="replace"),
            "size": self.size,
            "time": self.time // 1_000_000,
            "last": self.last // 1_000_000,
            "count": self.count,
            "reading": reading
            and {"time": reading.time // 1_000_000, "values": _shown(reading.values)},
        }


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    return {
        metric[:_SHOWN]: value[:_SHOWN] if isinstance(value, str) else value
        for metric, value in values.items()
    }


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    return DeadLetter(
        id=row[0],
        stage=row[1],
        name=row[2],
        reason=row[3],
        detail=row[4],
        device=row[5],
        topic=row[6],
        payload=row[7],
        size=row[8],
        time=row[9],
        reading=_reading(row[10]),
        count=row[11],
        last=row[12],
    )


def _record(reading: Reading | None) -> bytes | None:
    """What a refused reading is known by when it comes again: after a crash, or in a replay, which
    marks it with a flag."""
    if reading is None:
        return None
    known = msgspec.msgpack.encode((reading.device, reading.time, reading.values))
    return hashlib.blake2b(known, digest_size=16).digest()


class DeadLetters:
    """The store of dead letters. dropped: how many had to go for the quota. trouble: why none can
    be kept at the moment, or ""."""

    def __init__(self, database: Database, quota: int = QUOTA) -> None:
        self.dropped = 0
        self.trouble = ""
        self._database = database
        self._quota = quota
        self._totals: Counter[tuple[str, str, str]] = Counter()
        rows = database.load(lambda c: c.execute(_SQL["totals"]).fetchall())
        for stage, name, reason, count, _, _ in rows:
            self._totals[stage, name, reason] = count

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these; durable once this returns. A reading that is one already, for the same
        reason, makes no second one. Raises sqlite3.Error, OSError."""
        rows = [
            (
                letter.stage,
                letter.name,
                letter.reason,
                letter.detail[:_DETAIL],
                letter.device,
                letter.topic,
                letter.payload[:KEPT_PAYLOAD],
                len(letter.payload),
                letter.time,
                msgspec.msgpack.encode(letter.reading) if letter.reading else None,
                _record(letter.reading),
            )
            for letter in letters
        ]

        def write(connection: Any) -> int:
            connection.executemany(_SQL["add"], rows)
            return int(connection.execute(_SQL["trim"], {"quota": self._quota}).rowcount)

        pushed_out = await self._database.write(write)
        self.dropped += pushed_out  # not in one statement: others add meanwhile
        self._totals.update((letter.stage, letter.name, letter.reason) for letter in letters)

    async def keep(self, letters: Sequence[DeadLetter]) -> None:
        """As `add`, for whoever may not go on before they are kept: waits for a disk that
        refuses."""
        while True:
            try:
                await self.add(letters)
            except (sqlite3.Error, OSError) as error:
                if not self.trouble:
                    log.error("dead letters: cannot be kept: %s; waiting", error)
                self.trouble = str(error)
                await asyncio.sleep(_RETRY)
            else:
                if self.trouble:
                    log.warning("dead letters: kept again")
                self.trouble = ""
                return

    def totals(self) -> list[dict[str, Any]]:
        """How many there have been, by stage, name and reason."""
        return [
            {"stage": stage, "name": name, "reason": reason, "count": count}
            for (stage, name, reason), count in sorted(self._totals.items())
        ]

    async def list(
        self,
        name: str | None = None,
        limit: int = 100,
        before: int = 2**62,
        stage: str | None = None,
    ) -> Sequence[DeadLetter]:
        """The newest first, of one source (stage decode) or bridge (deliver) or of all; `before`:
        ids below this one."""
        return await self._read("list", name=name, stage=stage, limit=limit, before=before)

    async def after(self, stage: str, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        """The oldest first, of one source or bridge, with ids above `after`."""
        return await self._read("after", stage=stage, name=name, after=after, limit=limit)

    async def chosen(self, stage: str, name: str, ids: Sequence[int]) -> Sequence[DeadLetter]:
        """Those of one source or bridge that have these ids."""
        return await self._read("chosen", stage=stage, name=name, ids=json.dumps(list(ids)))

    async def groups(
        self, name: str | None = None, stage: str | None = None, limit: int = 100
    ) -> Sequence[dict[str, Any]]:
        """Those that are kept, by where, why and device: count, first and last (epoch ms), one
        detail, how often they were refused in all; the most frequent first."""
        query = {"name": name, "stage": stage, "limit": limit}
        rows = await self._database.read(lambda c: c.execute(_SQL["groups"], query).fetchall())
        return [
            {
                "stage": row[0],
                "name": row[1],
                "reason": row[2],
                "device": row[3],
                "count": row[4],
                "first": row[5] // 1_000_000,
                "last": row[6] // 1_000_000,
                "detail": row[7],
                "refused": row[8],
            }
            for row in rows
        ]

    async def _read(self, statement: str, **query: Any) -> Sequence[DeadLetter]:
        rows = await self._database.read(lambda c: c.execute(_SQL[statement], query).fetchall())
        return [_letter(row) for row in rows]

    async def again(self, refused: Mapping[int, str]) -> None:
        """These, by id, were tried and refused once more; why. Raises sqlite3.Error."""
        now = time.time_ns()
        rows = [
            {"id": number, "detail": detail[:_DETAIL], "now": now}
            for number, detail in refused.items()
        ]
        await self._database.write(lambda c: c.executemany(_SQL["again"], rows))

    async def delete(self, ids: Iterable[int]) -> None:
        """Forget these. Raises sqlite3.Error."""
        chosen = [(letter,) for letter in ids]
        await self._database.write(lambda c: c.executemany(_SQL["delete"], chosen))


def _reading(stored: bytes | None) -> Reading | None:
    try:
        return msgspec.msgpack.decode(stored, type=Reading) if stored else None
    except msgspec.MsgspecError:  # damaged: the rest of the letter still tells something
        return None
