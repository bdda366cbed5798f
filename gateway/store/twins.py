"""Desired and reported state of devices: what each key is to be and what it is said to be, with
versions, in the state database."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import msgspec

from gateway.io.sqlite.database import Database, statements

_SQL = statements((files(__package__) / "twins.sql").read_text())
Kind = Literal["desired", "reported"]
Place = tuple[str, Kind, str]
"""(device, kind, key)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key. version: grows by one with each change. of: the desired version that a report
    answers, 0 where it does not say. time: ns."""

    value: Any
    version: int
    of: int
    time: int

    def as_dict(self) -> dict[str, Any]:
        """For the API and MQTT; time in epoch ms."""
        found = {"value": self.value, "version": self.version, "time": self.time // 1_000_000}
        return found | ({"of": self.of} if self.of else {})


class Twins:
    """See the module. entries: every key there is."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.entries: dict[str, dict[tuple[Kind, str], Entry]] = {}
        for row in database.load(lambda c: c.execute(_SQL["all"]).fetchall()):
            device, kind, key, value, *rest = row
            try:
                entry = Entry(msgspec.json.decode(value), *rest)
            except ValueError:  # damaged, or nothing that can be told; it is said again
                continue
            self.entries.setdefault(device, {})[kind, key] = entry

    def get(self, place: Place) -> Entry | None:
        """One key of a device."""
        return self.entries.get(place[0], {}).get((place[1], place[2]))

    def put(self, place: Place, entry: Entry | None) -> None:
        """What it is from now on, in memory; None: no more."""
        keys = self.entries.setdefault(place[0], {})
        if entry is None:
            keys.pop((place[1], place[2]), None)
        else:
            keys[place[1], place[2]] = entry
        if not keys:
            del self.entries[place[0]]

    async def save(self, places: Iterable[Place]) -> None:
        """These as they are in memory; durable once it returns. Raises sqlite3.Error, OSError."""
        await self.write({place: self.get(place) for place in places})

    async def write(self, changed: dict[Place, Entry | None]) -> None:
        """These as they are given. Raises sqlite3.Error, OSError."""
        gone = [place for place, entry in changed.items() if entry is None]
        rows = [
            (*place, json.dumps(entry.value), entry.version, entry.of, entry.time)
            for place, entry in changed.items()
            if entry is not None
        ]

        def work(connection: Any) -> None:
            connection.executemany(_SQL["save"], rows)
            connection.executemany(_SQL["remove"], gone)

        await self.database.write(work)

    async def forget(self, device: str) -> None:
        """Everything of a device. Raises sqlite3.Error, OSError."""
        self.entries.pop(device, None)
        await self.database.write(lambda c: c.execute(_SQL["forget"], (device,)))
