"""Chunks of history: one compressed time column shared by the value columns of a stream.

Compression: pcodec, about 1 byte a value for sensor data (M. Loncaric, "Pcodec: Better
Compression for Numerical Sequences", 2025).
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from pcodec import ChunkConfig, standalone

from gateway.core.contracts import Value

Times = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

_CONFIG = ChunkConfig()


class Column(msgspec.Struct, array_like=True):
    """One metric's values. kind f: float64 by pcodec; v: anything, msgpack by zstd. Kinds of
    rollups are in gateway.store.rollups."""

    kind: str
    data: bytes


@dataclass(slots=True)
class Samples:
    """What a stream holds before it is a chunk, or after: times (ns) and, in the order of its
    metrics, columns of values."""

    times: Times
    columns: list[Numbers | list[Value]]

    def where(self, mask: npt.NDArray[np.bool_]) -> "Samples":
        """Only those that `mask` marks."""
        rows = np.flatnonzero(mask).tolist()
        columns: list[Numbers | list[Value]] = [
            column[mask] if isinstance(column, np.ndarray) else [column[row] for row in rows]
            for column in self.columns
        ]
        return Samples(self.times[mask], columns)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Column]).decode
_values = msgspec.msgpack.Decoder(list[float | int | bool | str]).decode


def encode(samples: Samples) -> tuple[bytes, bytes]:
    """(times, columns) as they are stored."""
    return encode_times(samples.times), pack([column_of(each) for each in samples.columns])


def encode_times(times: Times) -> bytes:
    """The times of a chunk (ns) as they are stored."""
    return bytes(standalone.simple_compress(times, _CONFIG))


def pack(columns: list[Column]) -> bytes:
    """Columns as they are stored."""
    return _encode(columns)


def unpack(data: bytes) -> list[Column]:
    """And back. Raises msgspec.MsgspecError."""
    return _decode(data)


def column_of(values: Numbers | list[Value]) -> Column:
    """A column of these values."""
    if isinstance(values, np.ndarray):
        array = np.ascontiguousarray(values)
        return Column("f", bytes(standalone.simple_compress(array, _CONFIG)))
    return Column("v", zstandard.compress(_encode(values)))


def decode_times(data: bytes) -> Times:
    """The times of a chunk (ns)."""
    return np.asarray(standalone.simple_decompress(data), dtype=np.int64)


def decode_column(data: bytes, place: int) -> Numbers | list[Value]:
    """The values of one metric of a chunk, in the order of its times."""
    return values_of(_decode(data)[place])


def values_of(column: Column) -> Numbers | list[Value]:
    """What `column_of` was given."""
    if column.kind == "f":
        return np.asarray(standalone.simple_decompress(column.data), dtype=np.float64)
    values: list[Any] = _values(zstandard.decompress(column.data))
    return values


def width(data: bytes) -> int:
    """How many columns a chunk has."""
    return len(_decode(data))
