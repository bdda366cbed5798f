"""What history knows at a start, read from a database that may say anything."""

import json
import sqlite3
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import msgspec

from gateway.io.sqlite.database import statements
from gateway.io.sqlite.salvage import DamagedError, Row
from gateway.store.buffers import Stream
from gateway.store.checksums import is_whole

SQL = statements((files(__package__) / "history.sql").read_text())

_names = msgspec.json.Decoder(list[str]).decode


@dataclass(slots=True)
class Known:
    """position: the journal is to be read again from here. reached: the sequence after the last
    sample taken. unsettled: boots whose times must still be put right. expired: by level, before
    when rows may be gone (ns). compacted: when all streams were last gone through (ns)."""

    position: int = 0
    reached: int = 0
    streams: list[Stream] = field(default_factory=list)
    unsettled: set[str] = field(default_factory=set)
    expired: dict[int, int] = field(default_factory=dict)
    compacted: int = 0


def load(connection: sqlite3.Connection) -> Known:
    """Read it. Raises sqlite3.Error, among them DamagedError for rows that are not as written."""
    known = Known()
    for position, reached, crc in connection.execute(SQL["cursor"]):
        _must_be_whole("cursor", (position, reached, crc))
        known.reached = max(reached, 0)
        # From the beginning is never wrong: each stream knows what it has.
        known.position = position if 0 <= position <= known.reached else 0
    kept: dict[int, dict[int, list[tuple[int, int]]]] = {}
    for stream, level, first, last in connection.execute(SQL["kept"]):
        kept.setdefault(stream, {}).setdefault(level, []).append((first, last))
    for number, device, metrics, stored, crc, *rest in connection.execute(SQL["streams"]):
        _must_be_whole("stream", (device, metrics, stored, crc))
        names = metrics_of(metrics)
        if names is None or stored >= max(known.reached, 1):
            raise DamagedError(f"stream {number} makes no sense")
        stream = Stream((device, names), number, stored, None, [], *rest)
        stream.claims = kept.get(number, {})
        stream.kept = stream.claims.pop(0, [])
        known.streams.append(stream)
    known.unsettled = {row[0] for row in connection.execute(SQL["unsettled_boots"])}
    for level, until, crc in connection.execute(SQL["expired"]):
        _must_be_whole("mark of retention", (level, until, crc))
        known.expired[level] = until
    for (known.compacted,) in connection.execute(SQL["compacted"]):
        pass
    return known


def _must_be_whole(what: str, row: Row) -> None:
    if not is_whole(row):
        raise DamagedError(f"a {what}'s checksum does not hold")


def metrics_of(stored: Any) -> tuple[str, ...] | None:
    """Names as they were before they were stored; None for what makes no sense."""
    try:
        return tuple(_names(stored))
    except (msgspec.MsgspecError, TypeError):
        return None


def metrics_text(names: tuple[str, ...]) -> str:
    """Names as they are stored."""
    return json.dumps(names)
