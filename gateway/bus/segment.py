"""One journal file: preallocated, append-only, found whole again after any crash.

Layout: a fixed head (magic, index, first sequence, CRC), then blocks back to back, then zeros.
Space is zeroed a step ahead of the writes, so that a commit changes data only and `fdatasync`
need not write the file system's own journal as well (that is most of what small commits cost).

The file of a segment that was deleted may become the next one: then nothing is zeroed, and behind
the blocks lie that segment's instead of zeros. A block's checksum is seeded with the index of its
segment, so that none of them is ever taken for one of ours. The head tells of them (index, how many
bytes of the file they take, CRC), so that a start need not look through all of them.
"""

import os
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.block import Block, CorruptBlockError, Header
from gateway.bus.records import Meta

SEGMENT_SIZE = 64 * 1024 * 1024
STEP = 1024 * 1024  # zeroed ahead at a time
ZEROS = bytes(STEP)
_AHEAD = 64 * 1024  # read at once where blocks are asked for
_HEAD = struct.Struct("<8sQQI")
_BEFORE = struct.Struct("<QQI")
_MAGIC = b"BGSEG\x00\x00\x01"
START = 64  # where the first block begins


@dataclass(frozen=True, slots=True)
class Damage:
    """What of a journal cannot be used: bytes of a segment that are no blocks although blocks
    follow, a head that is wrong, a whole file."""

    path: Path
    offset: int
    length: int
    reason: str

    def as_dict(self) -> dict[str, str | int]:
        """For status and the API."""
        return {
            "segment": self.path.name,
            "offset": self.offset,
            "bytes": self.length,
            "reason": self.reason,
        }


@dataclass(slots=True)
class Segment:
    """A segment and where its blocks are. firsts/offsets: one entry per block, in order.

    sealed: nothing more may be written to it. before: index of the segment that the file was
    before, 0: none. held: bytes that the file had then.
    """

    path: Path
    index: int
    first: int
    firsts: "array[int]" = field(default_factory=lambda: array("Q"))
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    end: int = 0  # sequence after the last reading
    tail: int = START  # where the next block goes
    scanned: bool = False
    sealed: bool = False
    before: int = 0
    held: int = 0

    def note(self, header: Header, offset: int) -> None:
        """Remember a block that stands at `offset`."""
        self.firsts.append(header.first)
        self.offsets.append(offset)
        self.end = header.end
        self.tail = offset + blocks.HEADER_SIZE + header.length

    def find(self, sequence: int) -> int | None:
        """The number of the block that holds `sequence`, or the first one after it."""
        number = max(bisect_right(self.firsts, sequence) - 1, 0)
        return number if number < len(self.firsts) else None


def path_of(directory: Path, index: int) -> Path:
    """Where the segment with this index lies."""
    return directory / f"{index:012d}.seg"


def spare_path(segment: Segment) -> Path:
    """What a segment's file is called while it waits to become another one."""
    return segment.path.with_suffix(".spare")


def head(segment: Segment) -> bytes:
    """The fixed first bytes of a segment."""
    body = struct.pack("<8sQQ", _MAGIC, segment.index, segment.first)
    before = struct.pack("<QQ", segment.before, segment.held) if segment.before else b""
    parts = [part + struct.pack("<I", zlib.crc32(part)) for part in (body, before) if part]
    return b"".join(parts).ljust(START, b"\0")


def open_segment(path: Path) -> Segment:
    """The segment at `path`, its blocks not yet looked for. Raises CorruptBlockError, OSError."""
    with path.open("rb") as file:
        data = file.read(START)
    if len(data) < START:
        raise CorruptBlockError("segment without a head")
    magic, index, first, crc = _HEAD.unpack_from(data)
    if magic != _MAGIC or zlib.crc32(data[: _HEAD.size - 4]) != crc:
        raise CorruptBlockError("segment head is damaged")
    if path_of(path.parent, index) != path:
        raise CorruptBlockError("segment has another one's head")
    segment = Segment(path, index, first, end=first)
    before, held, crc = _BEFORE.unpack_from(data, _HEAD.size)
    if before and zlib.crc32(data[_HEAD.size : _HEAD.size + _BEFORE.size - 4]) == crc:
        segment.before, segment.held = before, held
    return segment


def scan(segment: Segment) -> Iterator[tuple[Header, bytes] | Damage]:
    """Every whole block (header, its bytes) and every damaged stretch before another block.

    Fills in the segment's index on the way. What is not a block at the end is the torn tail of a
    crash, or the zeros ahead, and is no damage. Raises OSError.
    """
    segment.firsts, segment.offsets = array("Q"), array("Q")
    segment.end, segment.tail = segment.first, START
    with segment.path.open("rb") as file:
        window = _Window(file.fileno())
        while True:
            found = _block_at(window, segment.tail, segment.index)
            if found is None:
                resumed = _next_block(window, segment)
                if resumed is None:
                    break
                yield Damage(segment.path, segment.tail, resumed - segment.tail, "not a block")
                segment.tail = resumed
                continue
            segment.note(found[0], segment.tail)
            yield found
    segment.scanned = True


class _Window:
    """A file read a stretch at a time: with two system calls for each small block, a start would
    spend most of its time on them."""

    def __init__(self, fd: int, stretch: int = STEP) -> None:
        self._fd = fd
        self._stretch = stretch
        self._begin = 0
        self._data = b""

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes from there; fewer at the end of the file. Raises OSError."""
        at = self._reach(offset, length)
        return self._data[at : at + length]

    def block(self, offset: int, index: int) -> tuple[Header, bytes]:
        """The whole block that stands there (header, its bytes), of the segment with this index.
        Raises CorruptBlockError, OSError."""
        at = self._reach(offset, blocks.HEADER_SIZE)
        header = blocks.read_header(self._data, at)
        length = blocks.HEADER_SIZE + header.length
        at = self._reach(offset, length)
        data = self._data[at : at + length]
        blocks.must_hold(header, data, index)
        return header, data

    def _reach(self, offset: int, length: int) -> int:
        """Where in what was read so many bytes from there begin."""
        at = offset - self._begin
        if at < 0 or at + length > len(self._data):
            self._data = os.pread(self._fd, max(length, self._stretch), offset)
            self._begin, at = offset, 0
        return at


def _block_at(window: _Window, offset: int, index: int) -> tuple[Header, bytes] | None:
    try:
        return window.block(offset, index)
    except CorruptBlockError:
        return None


def _next_block(window: _Window, segment: Segment) -> int | None:
    """The offset of the next whole block behind a place that holds none."""
    offset = segment.tail  # what stands there is no block of ours, but may be one of before
    overlap = len(blocks.MAGIC) - 1
    end = None  # a step behind the first of those: all that follows is of before as well
    while (data := window.read(offset, STEP)) and (end is None or offset < end):
        # Most of what follows is zeros, and those are told apart in a tenth of the time.
        at = -1 if data == ZEROS else data.find(blocks.MAGIC)
        while at >= 0:
            found = _block_at(window, offset + at, segment.index)
            if found is not None and found[0].first >= segment.end:
                return offset + at
            if end is None and _is_of_before(window, offset + at, segment):
                end = offset + at + STEP
            at = data.find(blocks.MAGIC, at + 1)
        if len(data) <= overlap:
            return None
        offset += len(data) - overlap
    return None


def _is_of_before(window: _Window, offset: int, segment: Segment) -> bool:
    """Whether a whole block stands there of what the file was before."""
    return bool(segment.before) and _block_at(window, offset, segment.before) is not None


def read_block(segment: Segment, number: int) -> Block:
    """The segment's block with this number, decoded. Raises CorruptBlockError, OSError."""
    header, data = next(read_raw(segment, number))
    return blocks.decode_checked(data, 0, header)


def read_raw(segment: Segment, number: int) -> Iterator[tuple[Header, bytes]]:
    """The segment's blocks (header, its bytes) from this number on. Raises CorruptBlockError,
    OSError."""
    with segment.path.open("rb") as file:
        window = _Window(file.fileno(), _AHEAD)
        for offset in segment.offsets[number:]:
            yield window.block(offset, segment.index)


def read_meta(segment: Segment, number: int) -> Meta:
    """As `read_block`, but only what rides beside the readings. Raises CorruptBlockError, OSError,
    IndexError."""
    offset = segment.offsets[number]
    with segment.path.open("rb") as file:
        header = blocks.read_header(os.pread(file.fileno(), blocks.HEADER_SIZE, offset), 0)
        data = os.pread(file.fileno(), blocks.HEADER_SIZE + header.meta_length, offset)
    return blocks.decode_meta(data, 0, header)


def sync_directory(directory: Path) -> None:
    """Make a file's appearance in or disappearance from `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
