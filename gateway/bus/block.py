"""One journal block: a committed batch of readings with what must become durable with it.

On disk: header, meta, data. The header is fixed; meta (cursors, repeat keys, stamp) and data
(the readings, in columns) are msgpack compressed with zstd, apart so that recovery reads cursors
without touching readings. The CRC covers everything behind it and is seeded with the segment's
index: bytes of another segment in the same place (a file used again, a misdirected write) are
not taken for a block of this one.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, repeat

import msgspec
import numpy as np

from gateway.bus.records import Meta
from gateway.bus.shuffle import shuffled, unshuffled
from gateway.core.contracts import Reading, Value
from gateway.io.packing import PackError, pack, unpack

MAGIC = b"BGB1"
_HEADER = struct.Struct("<4sIIQII")  # magic, crc, length of meta + data, first, count, len(meta)
HEADER_SIZE = _HEADER.size
MAX_LENGTH = 64 * 1024 * 1024
_CRC_START = 8  # the CRC covers what follows it
_FEW = 64  # steps that cost less to add up one by one than an array costs to make

_meta_encoder = msgspec.msgpack.Encoder()
_meta_decoder = msgspec.msgpack.Decoder(Meta)


class CorruptBlockError(Exception):
    """The bytes at this place are not a whole, unharmed block."""


class Group(msgspec.Struct, array_like=True):
    """The readings of one shape (the same metric names in the same order), in columns.

    rows: places in the block (uint32); none where they are all of it. floats: which columns are all
    floats. matrix: these columns as float64, byte-shuffled (all first bytes, then all second
    bytes, …), which zstd packs to about half. others: the remaining columns as lists, in order.
    """

    names: tuple[str, ...]
    rows: bytes
    floats: list[bool]
    matrix: bytes
    others: list[list[Value]]


class Columns(msgspec.Struct, array_like=True):
    """The readings of a block. device: index into devices (uint32); times: int64 differences
    from one reading to the next, byte-shuffled; flags: uint8, empty when all are 0."""

    devices: list[str]
    device: bytes
    start: int
    times: bytes
    flags: bytes
    groups: list[Group]


_data_encoder = msgspec.msgpack.Encoder()
_data_decoder = msgspec.msgpack.Decoder(Columns)


@dataclass(slots=True)
class Block:
    """A batch of readings with sequences first … end-1. settled: no better times than these will
    be known (see times.py). size: of what was read back, unpacked (bytes). columns: the readings
    once more, as they were written a moment ago; None for a block that was read back."""

    first: int
    readings: Sequence[Reading]
    meta: Meta = field(default_factory=Meta)
    splits: dict[object, object] = field(default_factory=dict)  # kept by subscriptions
    settled: bool = False
    size: int = 0
    columns: Columns | None = None

    @property
    def end(self) -> int:
        """The sequence after the last reading."""
        return self.first + len(self.readings)


class Header(msgspec.Struct, frozen=True, gc=False):
    """What a block says of itself."""

    crc: int
    length: int
    first: int
    count: int
    meta_length: int

    @property
    def end(self) -> int:
        """The sequence after the block's last reading."""
        return self.first + self.count


def _groups(every: Sequence[dict[str, Value]]) -> list[Group]:
    """The values of all readings, one group for each set of metrics."""
    names = list(map(tuple, every))
    if names.count(names[0]) == len(names):  # as nearly always
        return [_group(names[0], b"", every)]
    shapes: dict[tuple[str, ...], list[int]] = {}
    for row, each in enumerate(names):
        shapes.setdefault(each, []).append(row)
    return [
        _group(shape, np.array(rows, dtype=np.uint32).tobytes(), [every[row] for row in rows])
        for shape, rows in shapes.items()
    ]


def _group(names: tuple[str, ...], place: bytes, values: Sequence[dict[str, Value]]) -> Group:
    width = len(names)
    flat = list(chain.from_iterable(map(dict.values, values)))
    if set(map(type, flat)) == {float}:
        matrix = np.ascontiguousarray(np.array(flat, dtype=np.float64).reshape(-1, width).T)
        return Group(names, place, [True] * width, shuffled(matrix), [])
    columns = [list(column) for column in zip(*map(dict.values, values), strict=True)]
    floats = [set(map(type, column)) == {float} for column in columns]
    numeric = [c for c, is_float in zip(columns, floats, strict=True) if is_float]
    others = [c for c, is_float in zip(columns, floats, strict=True) if not is_float]
    return Group(names, place, floats, shuffled(np.array(numeric, dtype=np.float64)), others)


def _columns(readings: Sequence[Reading]) -> Columns:
    devices: dict[str, int] = {}
    device = [devices.setdefault(r.device, len(devices)) for r in readings]
    times = np.array([r.time for r in readings], dtype=np.int64)
    flags = bytes([r.flags for r in readings])
    return Columns(
        devices=list(devices),
        device=np.array(device, dtype=np.uint32).tobytes(),
        start=int(times[0]) if len(times) else 0,
        times=shuffled(np.diff(times)) if len(times) > 1 else b"",
        flags=flags if any(flags) else b"",
        groups=_groups([r.values for r in readings]),
    )


def _readings(columns: Columns) -> list[Reading]:
    device = memoryview(columns.device).cast("I").tolist()
    names, count = columns.devices, len(device)
    flags = columns.flags or bytes(count)
    return [
        Reading(names[index], time, value, flag)
        for index, time, value, flag in zip(
            device, _times(columns), _values(columns.groups, count), flags, strict=False
        )
    ]


def _times(columns: Columns) -> Iterable[int]:
    if not columns.times:
        return (columns.start,)
    steps = unshuffled(columns.times, np.int64)
    if len(steps) < _FEW:
        return accumulate(steps.tolist(), initial=columns.start)
    times: list[int] = np.concatenate(([columns.start], columns.start + np.cumsum(steps))).tolist()
    return times


def _values(groups: list[Group], count: int) -> list[dict[str, Value]]:
    """The values of each reading."""
    if len(groups) == 1:  # of all of them, in their order
        names = groups[0].names
        return [dict(zip(names, row, strict=True)) for row in cells(groups[0], count)]
    values: list[dict[str, Value]] = [{}] * count
    for group in groups:
        places = memoryview(group.rows).cast("I").tolist()
        for place, row in zip(places, cells(group, len(places)), strict=True):
            values[place] = dict(zip(group.names, row, strict=True))
    return values


def cells(group: Group, count: int) -> Iterable[tuple[Value, ...]]:
    """The values of each of a group's `count` readings."""
    if not group.names:
        return repeat((), count)
    numeric = iter(unshuffled(group.matrix, np.float64).reshape(-1, count) if group.matrix else ())
    others = iter(group.others)
    columns = [next(numeric).tolist() if is_float else next(others) for is_float in group.floats]
    return zip(*columns, strict=True)


def encode(block: Block, segment: int) -> bytes:
    """The block's bytes for the segment with this index."""
    meta = pack(_meta_encoder.encode(block.meta))
    data = b""
    if block.readings:
        if block.columns is None:
            block.columns = _columns(block.readings)
        data = pack(_data_encoder.encode(block.columns))
    length = len(meta) + len(data)
    tail = struct.pack("<IQII", length, block.first, len(block.readings), len(meta)) + meta + data
    return MAGIC + struct.pack("<I", zlib.crc32(tail, segment)) + tail


def longer(data: bytes, by: int, segment: int) -> bytes:
    """An encoded block with so many bytes behind it that mean nothing, and are part of it."""
    head = read_header(data, 0)
    told = struct.pack("<IQII", head.length + by, head.first, head.count, head.meta_length)
    tail = told + data[HEADER_SIZE:] + bytes(by)
    return MAGIC + struct.pack("<I", zlib.crc32(tail, segment)) + tail


def read_header(data: bytes | memoryview, offset: int) -> Header:
    """The header at `offset`. Raises CorruptBlockError where there is none."""
    if len(data) - offset < HEADER_SIZE:
        raise CorruptBlockError("cut short")
    magic, crc, length, first, count, meta_length = _HEADER.unpack_from(data, offset)
    if magic != MAGIC or length > MAX_LENGTH or meta_length > length:
        raise CorruptBlockError("no block here")
    return Header(crc, length, first, count, meta_length)


def check(data: bytes | memoryview, offset: int, segment: int) -> Header:
    """The header of a whole block at `offset` whose CRC holds. Raises CorruptBlockError."""
    header = read_header(data, offset)
    must_hold(header, memoryview(data)[offset : offset + HEADER_SIZE + header.length], segment)
    return header


def must_hold(header: Header, data: bytes | memoryview, segment: int) -> None:
    """Raises CorruptBlockError where these bytes are not the whole block that its header tells
    of, as it was written."""
    if len(data) < HEADER_SIZE + header.length:
        raise CorruptBlockError("cut short")
    if zlib.crc32(memoryview(data)[_CRC_START:], segment) != header.crc:
        raise CorruptBlockError("checksum does not hold")


def decode_meta(data: bytes | memoryview, offset: int, header: Header) -> Meta:
    """The meta part of a checked block. Raises CorruptBlockError."""
    start = offset + HEADER_SIZE
    try:
        return _meta_decoder.decode(unpack(memoryview(data)[start : start + header.meta_length]))
    except (PackError, msgspec.MsgspecError) as error:
        raise CorruptBlockError(str(error)) from error


def decode_columns(data: bytes | memoryview, offset: int, header: Header) -> tuple[Columns, int]:
    """The readings of a checked block, in columns, and their size unpacked (bytes). Raises
    CorruptBlockError."""
    start = offset + HEADER_SIZE
    body = memoryview(data)[start + header.meta_length : start + header.length]
    try:
        unpacked = unpack(body)
        return _data_decoder.decode(unpacked), len(unpacked)
    except (PackError, msgspec.MsgspecError) as error:
        raise CorruptBlockError(str(error)) from error


def decode(data: bytes | memoryview, offset: int, segment: int) -> Block:
    """The whole block at `offset`. Raises CorruptBlockError."""
    return decode_checked(data, offset, check(data, offset, segment))


def decode_checked(data: bytes | memoryview, offset: int, header: Header) -> Block:
    """The same for a block that was checked."""
    meta = decode_meta(data, offset, header)
    if not header.count:
        return Block(header.first, [], meta)
    columns, size = decode_columns(data, offset, header)
    return Block(header.first, readings_of(header, columns), meta, size=size)


def readings_of(header: Header, columns: Columns) -> list[Reading]:
    """A block's readings from its columns. Raises CorruptBlockError."""
    try:
        readings = _readings(columns)
    except (ValueError, TypeError, IndexError) as error:
        raise CorruptBlockError(str(error)) from error
    if len(readings) != header.count:
        raise CorruptBlockError("fewer readings than the header says")
    return readings
