"""Devices as they are stored: rows, with a checksum over what says who a device is."""

import re
import sqlite3
from importlib.resources import files
from typing import Any

from gateway.core.ids import MAX_LENGTH
from gateway.io.sqlite.database import statements
from gateway.io.sqlite.salvage import DamagedError, Rescue, Row
from gateway.store.checksums import checksum, is_whole
from gateway.store.device import Device

SQL = statements((files(__package__) / "devices.sql").read_text())
"""What is asked of the tables."""
_ID = re.compile(rf"[a-z0-9_-]{{1,{MAX_LENGTH}}}")


def row_of(device: Device) -> tuple[Any, ...]:
    """What is stored of a device."""
    identity = (device.id, device.original, device.source, device.first_seen)
    return (*identity, device.last_seen, device.readings, checksum(*identity))


def without(connection: sqlite3.Connection, device: str) -> None:
    """Take out all that is stored of a device here. Raises sqlite3.Error."""
    for statement in ("forget", "forget_aliases", "forget_last"):
        connection.execute(SQL[statement], (device,))


def read(connection: sqlite3.Connection) -> list[Device]:
    """Every device that is stored. Raises sqlite3.Error, among them DamagedError."""
    devices = []
    for row in connection.execute(SQL["all"]):
        if not _makes_sense("device", row):
            raise DamagedError(f"device {row[0]!r}: its checksum does not hold")
        devices.append(Device(*row[:6]))
    return devices


def _makes_sense(table: str, row: Row) -> bool:
    # A name that a flipped bit has changed would take another device's id.
    return table != "device" or (
        is_whole((*row[:4], row[6])) and isinstance(row[0], str) and bool(_ID.fullmatch(row[0]))
    )


RESCUE = Rescue(keep=_makes_sense)
"""What is kept of a damaged state database: devices whose names are whole; every dead letter."""
