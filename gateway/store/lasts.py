"""What devices said last and their rhythms, kept for the next start: a gateway that comes back need
not say that it knows nothing until each of them speaks again, nor that one is silent which speaks
every hour. Saved when it ends, and rarely in between: each time wears a card by all of it.
"""

import sqlite3
import time
from collections.abc import Mapping

import msgspec

from gateway.io.sqlite.database import Database
from gateway.store.device import Device
from gateway.store.rhythm import Rhythm

_EVERY = 900.0
_VALUES = msgspec.json.Decoder(dict[str, float | int | bool | str])
_LARGEST = 4_096  # of a device's values (bytes); more are not kept
_RHYTHM = msgspec.json.Decoder(list[tuple[int, float, float]])
_ALL = "SELECT id, time, told, rhythm FROM device_last"
_SAVE = """INSERT INTO device_last (id, time, told, rhythm) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE
SET time = excluded.time, told = excluded.told, rhythm = excluded.rhythm"""


class Lasts:
    """See the module."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._saved = time.monotonic()
        self._times: dict[str, int] = {}  # of what is saved

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= _EVERY

    def restore(self, devices: Mapping[str, Device]) -> None:
        """Tell the devices what they said last. Blocks. Raises sqlite3.Error."""
        rows = self._database.load(lambda c: c.execute(_ALL).fetchall())
        now = time.time_ns()
        for device, moment, told, rhythm in rows:
            known = devices.get(device)
            if known is None:
                continue
            known.rhythm = _restored(rhythm, (now - known.last_seen) / 1e9)
            try:
                last = _VALUES.decode(told)
            except msgspec.DecodeError:  # damaged; it says it again
                continue
            self._times[device] = moment
            if last:
                known.last, known.last_time = last, moment

    async def save(self, devices: Mapping[str, Device]) -> None:
        """Save what has changed. Raises sqlite3.Error, OSError."""
        self._saved = time.monotonic()
        rows = []
        for device in list(devices.values()):
            if device.last_time and self._times.get(device.id) != device.last_time:
                told = msgspec.json.encode(device.last).decode()
                told = told if len(told) <= _LARGEST else "{}"
                rows.append((device.id, device.last_time, told, _rhythm(device)))
        if not rows:
            return

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(_SAVE, rows)

        await self._database.write(write)
        self._times.update({row[0]: row[1] for row in rows})


def _restored(rhythm: str, age: float) -> Rhythm | None:
    try:
        kept = _RHYTHM.decode(rhythm)
        return Rhythm.restored(kept, age) if kept else None
    except ValueError:  # damaged; it is learnt again
        return None


def _rhythm(device: Device) -> str:
    kept = device.rhythm.kept(device.heard) if device.rhythm is not None else []
    return msgspec.json.encode(kept).decode()
