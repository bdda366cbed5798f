"""Rows of the chunk table: samples as they came (level 0), rollups of them (levels above)."""

import sqlite3
from typing import NamedTuple

from gateway.store.checksums import checksum
from gateway.store.loading import SQL


class Row(NamedTuple):
    """One row. low, high: times of its earliest and latest sample (ns). length: entries in
    `times`: samples, or buckets. first, last: the sequences that it has all of. rolled: of
    samples, a bit for each level of rollups that has them, and MERGED."""

    stream: int
    low: int
    high: int
    length: int
    first: int
    last: int
    times: bytes
    columns: bytes
    level: int = 0
    rolled: int = 0

    @property
    def checksum(self) -> int:
        """Rows of plain samples have that of the version before there were rollups."""
        return checksum(*(self if self.level or self.rolled else self[:8]))


class DamagedChunkError(Exception):
    """A chunk is not what was written."""


def read(c: sqlite3.Connection, number: int) -> Row | None:
    """The row with this id, if there is one. Raises DamagedChunkError, sqlite3.Error."""
    found = c.execute(SQL["read"], (number,)).fetchone()
    if found is None:
        return None
    row = Row(*found[:-1])
    if found[-1] not in (None, row.checksum):
        raise DamagedChunkError("checksum does not hold")
    return row


def write(c: sqlite3.Connection, row: Row) -> int:
    """Its id. Raises sqlite3.Error."""
    number = c.execute(SQL["add_chunk"], (*row, row.checksum)).lastrowid
    assert number is not None
    return number


def change(c: sqlite3.Connection, number: int, row: Row) -> None:
    """Write it in place of the one with this id. Raises sqlite3.Error."""
    c.execute(SQL["change_chunk"], (*row, row.checksum, number))
