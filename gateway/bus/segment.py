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
import time
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
_STEP = 1024 * 1024  # zeroed ahead at a time
_ZEROS = bytes(_STEP)
_APART = 5.0
"""Commits so far apart (s) are written where nothing was zeroed: with them ext4 writes its own
journal anyway, for the time of the file's last change. What counts then is pages."""
_PAGE = 4096
_AHEAD = 64 * 1024  # read at once where blocks are asked for
MOST_BLOCKS = 16_384
"""Blocks in one segment: a start looks at each of the last one's, and may not take long."""
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

    def __init__(self, fd: int, stretch: int = _STEP) -> None:
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
    while (data := window.read(offset, _STEP)) and (end is None or offset < end):
        # Most of what follows is zeros, and those are told apart in a tenth of the time.
        at = -1 if data == _ZEROS else data.find(blocks.MAGIC)
        while at >= 0:
            found = _block_at(window, offset + at, segment.index)
            if found is not None and found[0].first >= segment.end:
                return offset + at
            if end is None and _is_of_before(window, offset + at, segment):
                end = offset + at + _STEP
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


def settle(segment: Segment) -> None:
    """Make the last block of a scanned segment durable. Raises OSError.

    The process may have ended between a block's write and its fdatasync: the block is read, but
    a power cut would still take it. It is written again and not only synced, because after an
    fdatasync that failed the kernel calls its pages clean although the disk never had them.
    """
    if not segment.offsets:
        return
    fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        offset = segment.offsets[-1]
        os.pwrite(fd, os.pread(fd, segment.tail - offset, offset), offset)
        os.fsync(fd)
    finally:
        os.close(fd)


class SegmentWriter:
    """Appends to one segment. Not safe for use by two threads at once."""

    def __init__(self, segment: Segment, fd: int, size: int) -> None:
        self.segment = segment
        self._fd = fd
        self._size = size
        self._zeroed = 0
        self._synced = time.monotonic()

    @classmethod
    def create(cls, directory: Path, index: int, first: int, size: int) -> "SegmentWriter":
        """A new segment, durable in its directory. Raises OSError (no space left, …)."""
        path = path_of(directory, index)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            writer = cls(Segment(path, index, first, end=first, scanned=True), fd, size)
            writer._begin()
            sync_directory(directory)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return writer

    @classmethod
    def reuse(cls, spare: Path, index: int, first: int, size: int) -> "SegmentWriter":
        """The same of a file that an earlier segment was, and whose name as a spare is durable.
        Its head is that of the new one before its name is. Raises OSError; the file may be either
        then."""
        path = path_of(spare.parent, index)
        fd = os.open(spare, os.O_RDWR | os.O_CLOEXEC)
        try:
            held = min(os.fstat(fd).st_size, size)
            os.ftruncate(fd, held)
            segment = Segment(
                path, index, first, end=first, scanned=True, before=int(spare.stem), held=held
            )
            writer = cls(segment, fd, size)
            writer._begin()
            spare.rename(path)
            sync_directory(spare.parent)
        except OSError:
            os.close(fd)
            raise
        return writer

    def _begin(self) -> None:
        """Write the head, and what it promises, durably. Raises OSError."""
        os.posix_fallocate(self._fd, 0, self._size)
        os.pwrite(self._fd, head(self.segment), 0)
        self._zeroed = max(START, self.segment.held)
        self._zero_to(START + 1)
        os.fsync(self._fd)

    @classmethod
    def resume(cls, segment: Segment, size: int) -> "SegmentWriter":
        """Goes on behind the last whole block of a scanned segment. Raises OSError."""
        fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        writer = cls(segment, fd, size)
        try:
            # A torn block left in place could look whole again once a new block of its own length
            # stands before what followed it.
            writer._zeroed = segment.tail
            writer._zero_to(segment.tail + _STEP)
            writer._zeroed = max(writer._zeroed, segment.held)
            os.fsync(fd)
        except OSError:
            os.close(fd)  # it is tried again each second
            raise
        return writer

    def fits(self, length: int) -> bool:
        """Whether a block of `length` bytes still goes in; the first one always does."""
        if len(self.segment.offsets) >= MOST_BLOCKS:
            return False
        return self.segment.tail + length <= self._size or self.segment.tail == START

    @property
    def _apart(self) -> bool:
        return time.monotonic() - self._synced >= _APART

    def filled(self, data: bytes) -> bytes:
        """An encoded block, made longer up to the end of a page where commits are far apart and the
        next one of that length would otherwise be in one page more. By a third at most: it costs
        the journal room."""
        end = self.segment.tail + len(data)
        left = -end % _PAGE
        more = _pages(end % _PAGE + len(data)) > _pages(len(data))
        if self._apart and more and left <= min(len(data) // 3, self._size - end):
            return blocks.longer(data, left, self.segment.index)
        return data

    def append(self, data: bytes) -> None:
        """Write one encoded block; durable after `sync`. Raises OSError."""
        offset = self.segment.tail
        if self._apart:
            self._zeroed = max(self._zeroed, offset + len(data))
        else:
            self._zero_to(offset + len(data))
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset += written
            view = view[written:]

    def sync(self) -> None:
        """Make what was appended durable. Raises OSError; then nothing of it may be trusted."""
        os.fdatasync(self._fd)
        self._synced = time.monotonic()

    def note(self, data: bytes) -> None:
        """Count the block just made durable as part of the segment."""
        self.segment.note(blocks.read_header(data, 0), self.segment.tail)

    def finish(self) -> None:
        """Nothing more goes in: give back the room that was prepared, and close. What it holds is
        durable already. Raises OSError."""
        try:
            os.ftruncate(self._fd, self.segment.tail)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _zero_to(self, end: int) -> None:
        if end <= self._zeroed:
            return
        target = min(max(end, (end // _STEP + 1) * _STEP), max(self._size, end))
        offset = self._zeroed
        while offset < target:
            offset += os.pwrite(self._fd, _ZEROS[: target - offset], offset)
        self._zeroed = target


def _pages(length: int) -> int:
    return -(-length // _PAGE)


def sync_directory(directory: Path) -> None:
    """Make a file's appearance in or disappearance from `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
