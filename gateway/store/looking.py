"""Is every row of history as it was written, and do they fit together?"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import zstandard

from gateway.store import chunks
from gateway.store.checksums import is_whole
from gateway.store.loading import SQL
from gateway.store.rollups import NAMES, WIDTHS, bit, read_row
from gateway.store.rows import DamagedChunkError, Row

_Rows = Callable[[str], Iterator[tuple[Any, ...]]]


def history_problems(
    connection: sqlite3.Connection, rows: _Rows, found: Counter[str]
) -> Iterator[str]:
    """What is wrong with history.db. rows: all rows of a table, each behind its rowid. found:
    counts chunks, samples, rollups, and has what was `reached`. Raises sqlite3.Error."""
    yield from _marks(rows, found)
    rolled: list[int] = []
    for rowid, _, stream, level, *values, crc, bits in rows("chunk"):
        row = Row._make((stream, *values, level, bits or 0))
        if problem := _problem(row, crc):
            yield f"chunk {rowid}: {problem}"
        elif level:
            found["rollups"] += 1
        else:
            found.update(chunks=1, samples=row.length)
            rolled += [rowid] if row.rolled else []
    for rowid in rolled:
        for level in _missing(connection, rowid):
            yield f"chunk {rowid}: its samples are missing from the {NAMES[level]}s"


def _marks(rows: _Rows, found: Counter[str]) -> Iterator[str]:
    """Of the small tables."""
    for _, _, *row in rows("cursor"):
        position, reached = row[:2]
        found["reached"] = int(reached)
        if not is_whole(row):
            yield "the cursor's checksum does not hold"
        elif not 0 <= position <= reached:
            yield f"the cursor is at {position}, beyond what was taken ({reached})"
    for rowid, _, *row in rows("stream"):
        if not is_whole(row):
            yield f"stream {rowid}: its checksum does not hold"
        elif row[2] >= max(found["reached"], 1):
            yield f"stream {rowid} is at {row[2]}, beyond what was taken ({found['reached']})"
    for _, *row in rows("expired"):
        if not is_whole(row):
            yield f"what retention deleted of level {row[0]}: its checksum does not hold"


def _problem(row: Row, crc: int | None) -> str:
    """What is wrong with a row of the chunk table, or ""."""
    if crc not in (None, row.checksum):
        return "its checksum does not hold"
    try:
        if row.level:
            read_row(row)
            return ""
        if len(chunks.decode_times(row.times)) != row.length:
            return f"it has not the {row.length} times that it should have"
        for place in range(chunks.width(row.columns)):
            if len(chunks.decode_column(row.columns, place)) != row.length:
                return f"column {place} has not the {row.length} values that it should have"
    except (
        DamagedChunkError, RuntimeError, ValueError, msgspec.MsgspecError, zstandard.ZstdError,
    ) as error:  # fmt: skip
        return str(error)
    return ""


def _missing(connection: sqlite3.Connection, rowid: int) -> list[int]:
    """Levels that ought to have a chunk's samples and do not."""
    found = connection.execute(SQL["levels_of"], (rowid,)).fetchone()
    if found is None:
        return []  # a gateway that runs has made a larger one of it
    bits, *there = found
    return [n for n, own in zip(WIDTHS, there, strict=True) if bits & bit(n) and not own]
