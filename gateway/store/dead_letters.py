"""Dead letters: what could not be decoded or was refused for good, kept with its reason."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec

from gateway.core.contracts import Reading
from gateway.io.sqlite import Database, statements

log = logging.getLogger(__name__)

_RETRY = 1.0
KEPT_PAYLOAD = 4_096
"""How much of a payload is kept (bytes)."""
QUOTA = 10_000
"""How many dead letters are kept; the oldest go, and are counted."""

_SQL = statements((files(__package__) / "dead_letters.sql").read_text())


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them. stage: decode or deliver; name: the source or bridge; reason: one stable word;
    time: ns; reading: where it was decoded already; size: of the whole payload."""

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
        """Keep these; durable once this returns. Raises sqlite3.Error, OSError."""
        rows = [
            (
                letter.stage,
                letter.name,
                letter.reason,
                letter.detail[:1000],
                letter.device,
                letter.topic,
                letter.payload[:KEPT_PAYLOAD],
                len(letter.payload),
                letter.time,
                msgspec.msgpack.encode(letter.reading) if letter.reading else None,
            )
            for letter in letters
        ]

        def write(connection: Any) -> int:
            connection.executemany(_SQL["add"], rows)
            return int(connection.execute(_SQL["trim"], {"quota": self._quota}).rowcount)

        self.dropped += await self._database.write(write)
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
        self, name: str | None = None, limit: int = 100, before: int = 2**62
    ) -> list[DeadLetter]:
        """The newest first, of one source or bridge or of all; `before`: ids below this one."""
        query = {"name": name, "limit": limit, "before": before}
        rows = await self._database.read(lambda c: c.execute(_SQL["list"], query).fetchall())
        return [
            DeadLetter(
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
            )
            for row in rows
        ]

    async def delete(self, ids: Iterable[int]) -> None:
        """Forget these. Raises sqlite3.Error."""
        chosen = [(letter,) for letter in ids]
        await self._database.write(lambda c: c.executemany(_SQL["delete"], chosen))


def _reading(stored: bytes | None) -> Reading | None:
    try:
        return msgspec.msgpack.decode(stored, type=Reading) if stored else None
    except msgspec.MsgspecError:  # damaged: the rest of the letter still tells something
        return None
