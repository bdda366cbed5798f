"""Writing a journal file: begun, appended to, made durable, gone on with after a crash."""

import os
import time
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.segment import START, STEP, ZEROS, Segment, head, path_of, sync_directory

_APART = 5.0
"""Commits so far apart (s) are written where nothing was zeroed: with them ext4 writes its own
journal anyway, for the time of the file's last change. What counts then is pages."""
_PAGE = 4096
MOST_BLOCKS = 16_384
"""Blocks in one segment: a start looks at each of the last one's, and may not take long."""


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
            writer._zero_to(segment.tail + STEP)
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
        target = min(max(end, (end // STEP + 1) * STEP), max(self._size, end))
        offset = self._zeroed
        while offset < target:
            offset += os.pwrite(self._fd, ZEROS[: target - offset], offset)
        self._zeroed = target


def _pages(length: int) -> int:
    return -(-length // _PAGE)
