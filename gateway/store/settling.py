"""Chunks whose times were taken while the clock was not set, and how they are put right.

They are stored with the times there were, and noted. Once it is known when their boot was, each
is shifted and its note deleted in one transaction: once, whatever happens in between. Until then
it is in no rollup.
"""

import logging
import sqlite3

from gateway.bus.times import Times
from gateway.store import chunks, rows
from gateway.store.buffers import NOWHERE, Origin
from gateway.store.checksums import checksum
from gateway.store.chunks import Samples
from gateway.store.loading import SQL
from gateway.store.rows import DamagedChunkError, Row

log = logging.getLogger(__name__)


def write_chunk(
    c: sqlite3.Connection,
    span: tuple[int, int, int],
    samples: Samples,
    origin: Origin,
    rolled: int = 0,
) -> int:
    """Store samples as a chunk; its number. span: stream, first and last sequence. origin: of
    times that are to be put right. rolled: which rollups have them already. Raises
    sqlite3.Error."""
    chunk = rows.write(c, row_of(span, samples, rolled))
    if origin is not NOWHERE:
        note = (chunk, *origin)
        c.execute(SQL["unsettled"], (*note, checksum(*note)))
    return chunk


def row_of(span: tuple[int, int, int], samples: Samples, rolled: int = 0) -> Row:
    """Samples as a row; parameters as of `write_chunk`."""
    stream, first, last = span
    low, high = int(samples.times.min()), int(samples.times.max())
    data = chunks.encode(samples)
    return Row(stream, low, high, len(samples.times), first, last, *data, 0, rolled)


def settle_some(c: sqlite3.Connection, boot: str, times: Times) -> int:
    """Put a few chunks of `boot` right, so that others can be written in between; how many.
    Raises sqlite3.Error."""
    found = c.execute(SQL["to_settle"], (boot,)).fetchall()
    for chunk, base in found:
        try:
            _shift(c, chunk, times.shift(boot, base) or 0)
        except (RuntimeError, ValueError, DamagedChunkError) as error:
            log.error("history: chunk %d is damaged: %s", chunk, error)
        c.execute(SQL["settled"], (chunk,))
    return len(found)


def _shift(c: sqlite3.Connection, chunk: int, shift: int) -> None:
    """Raises DamagedChunkError, ValueError or RuntimeError for a chunk that is damaged,
    sqlite3.Error."""
    row = rows.read(c, chunk)
    if row is None:
        raise DamagedChunkError("it is gone")
    times = chunks.encode_times(chunks.decode_times(row.times) + shift)
    rows.change(c, chunk, row._replace(low=row.low + shift, high=row.high + shift, times=times))
