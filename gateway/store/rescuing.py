"""What of a damaged history is worth keeping, and how what is left fits together again."""

import sqlite3

from gateway.io.sqlite.salvage import Rescue
from gateway.io.sqlite.salvage import Row as Columns
from gateway.store import rows
from gateway.store.checksums import is_whole
from gateway.store.loading import SQL, metrics_of
from gateway.store.rollups import MERGED, WIDTHS, bit
from gateway.store.rows import Row

_SPANS = dict[tuple[int, int], list[tuple[int, int]]]


def _makes_sense(table: str, row: Columns) -> bool:
    if table == "chunk":
        # Where an older version wrote it there are no rollups.
        stream, level, *values, crc, rolled = row[1:]
        chunk = Row._make((stream, *values, level, rolled or 0))
        return crc is None or crc == chunk.checksum
    if table == "stream":
        return is_whole(row[1:]) and metrics_of(row[2]) is not None
    if table in ("unsettled", "expired"):
        return is_whole(row)
    if table == "upkeep":
        return isinstance(row[1], int)
    numbers = all(isinstance(value, int) for value in row[:3])
    return numbers and is_whole(row[1:]) and 0 <= row[1] <= row[2]


def mend(c: sqlite3.Connection) -> None:
    """Chunks say which rollups have their samples: where such a row is gone they say so no more,
    and it is made again. Raises sqlite3.Error."""
    spans: _SPANS = {}
    for stream, level, first, last in c.execute(SQL["rollups"]):
        spans.setdefault((stream, level), []).append((first, last))
    for number, stream, first, last, rolled in c.execute(SQL["rolled"]).fetchall():
        left = rolled
        for level in WIDTHS:
            own = spans.get((stream, level), ())
            if not any(low <= first and last <= high for low, high in own):
                left &= ~bit(level) & ~MERGED if rolled & bit(level) else left
        if left != rolled:
            _change(c, number, left)


def _change(c: sqlite3.Connection, number: int, rolled: int) -> None:
    try:
        row = rows.read(c, number)
    except rows.DamagedChunkError:
        return  # nothing reads it any more
    if row is not None:
        rows.change(c, number, row._replace(rolled=rolled))


def forget(c: sqlite3.Connection, numbers: list[int]) -> None:
    """Delete rollups that are damaged; they are made again where their samples are kept.
    Raises sqlite3.Error."""
    c.executemany(SQL["delete"], [(number,) for number in numbers])
    mend(c)


RESCUE = Rescue(keep=_makes_sense, after=SQL["salvaged"], mend=mend)
"""After it the journal is read again from its beginning: what was lost is filled in."""
