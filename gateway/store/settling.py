"""Chunks whose times were taken while the clock was not set, and how they are put right.

They are stored with the times there were, and noted. Once it is known when their boot was, each
is shifted and its note deleted in one transaction: once, whatever happens in between.
"""

import logging
import sqlite3

from gateway.bus.times import Times
from gateway.store import chunks
from gateway.store.buffers import NOWHERE, Origin
from gateway.store.checksums import checksum, is_whole
from gateway.store.chunks import Samples
from gateway.store.loading import SQL

log = logging.getLogger(__name__)


def write_chunk(
    c: sqlite3.Connection, span: tuple[int, int, int], samples: Samples, origin: Origin
) -> int:
    """Store samples as a chunk; its number. span: stream, first and last sequence. origin: of
    times that are to be put right. Raises sqlite3.Error."""
    stream, first, last = span
    low, high = int(samples.times.min()), int(samples.times.max())
    row = (stream, low, high, len(samples.times), first, last, *chunks.encode(samples))
    chunk = c.execute(SQL["add_chunk"], (*row, checksum(*row))).lastrowid
    assert chunk is not None, "it was inserted"
    if origin is not NOWHERE:
        note = (chunk, *origin)
        c.execute(SQL["unsettled"], (*note, checksum(*note)))
    return chunk


def settle_some(c: sqlite3.Connection, boot: str, times: Times) -> int:
    """Put a few chunks of `boot` right, so that others can be written in between; how many.
    Raises sqlite3.Error."""
    rows = c.execute(SQL["to_settle"], (boot,)).fetchall()
    for chunk, base in rows:
        try:
            _shift(c, chunk, times.shift(boot, base) or 0)
        except (RuntimeError, ValueError) as error:
            log.error("history: chunk %d is damaged: %s", chunk, error)
        c.execute(SQL["settled"], (chunk,))
    return len(rows)


def _shift(c: sqlite3.Connection, chunk: int, shift: int) -> None:
    """Raises ValueError or RuntimeError for a chunk that is damaged, sqlite3.Error."""
    row = c.execute(SQL["read"], (chunk,)).fetchone()
    if row is None or not is_whole(row):
        raise ValueError("checksum does not hold")
    stream, low, high, count, first, last, data, columns, _ = row
    moved = chunks.encode_times(chunks.decode_times(data) + shift)
    new = (stream, low + shift, high + shift, count, first, last, moved, columns)
    c.execute(SQL["settle"], (low + shift, high + shift, moved, checksum(*new), chunk))
