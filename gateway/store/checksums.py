"""Checksums of rows: SQLite has none, and a flipped bit must not pass for a measured value, for a
mark that hides readings, or for another device's name."""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode


def checksum(*values: Any) -> int:
    """CRC-32 of these values and their types."""
    return zlib.crc32(_encode(values))


def is_whole(row: Sequence[Any]) -> bool:
    """Whether a row's checksum, its last value, holds; rows of the first version have none."""
    *values, crc = row
    return crc is None or crc == checksum(*values)
