"""Reading the journal back from the disk: whatever is whole, past whatever is not."""

import errno
import logging
from bisect import bisect_right
from typing import Protocol

from gateway.bus import block as blocks
from gateway.bus.block import Block, CorruptBlockError, Header
from gateway.bus.journal import Journal
from gateway.bus.segment import Damage, Segment, read_block, read_meta, read_raw
from gateway.bus.table import Table, Tables

log = logging.getLogger(__name__)

_LOST = frozenset({
    errno.EIO, errno.ENOENT, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO,
    errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EILSEQ,
})  # fmt: skip
"""What a file answers that will not be read later either. Others pass, as too many open files
does: skipping for them would lose what is whole."""


_RUN = 2_000  # readings that are read at once, if one block has not as many
_RUN_BLOCKS = 256  # small ones take most for what is beside the readings
_RUN_BYTES = 256 * 1024  # and as long as they are no larger: several such are kept


class _Taker(Protocol):
    """What blocks are read into. empty: nothing was taken yet. full: nothing more is to be."""

    empty: bool
    full: bool

    def take(self, header: Header, data: bytes) -> None:
        """One checked block with readings. Raises CorruptBlockError."""
        ...


class _Run:
    """Blocks as they are, as many as are read at once."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.empty, self.full = True, False
        self._count = self._size = 0

    def take(self, header: Header, data: bytes) -> None:
        block = blocks.decode_checked(data, 0, header)
        self.blocks.append(block)
        self.empty = False
        self._count += len(block.readings)
        self._size += block.size
        self.full = (
            self._count >= _RUN or self._size >= _RUN_BYTES or len(self.blocks) >= _RUN_BLOCKS
        )


def read(journal: Journal, sequence: int) -> list[Block]:
    """The block that holds `sequence`, or the next one there is, and some that come right behind
    it; none where nothing follows on the disk. Blocking. What is damaged is noted and skipped.
    Raises OSError for what passes."""
    run = _Run()
    _read(journal, sequence, run)
    return run.blocks


def read_tables(journal: Journal, sequence: int, head: int) -> list[Table | Block]:
    """The same, and more at once: what lies before `head`, in tables where it can. Raises OSError
    for what passes."""
    tables = Tables(head)
    _read(journal, sequence, tables)
    try:
        return tables.done()
    except CorruptBlockError:  # one of the blocks makes no sense: whoever reads them apart finds it
        return list[Table | Block](read(journal, sequence))


def _read(journal: Journal, sequence: int, taker: _Taker) -> None:
    segments = list(journal.segments)
    # The newest segment that begins at or before the sequence: after a failed fsync an older
    # one may hold the same block, which is not to be trusted.
    start = bisect_right(segments, sequence, key=lambda s: s.first) - 1
    for segment in segments[max(start, 0) :]:
        try:
            journal.index(segment)
            _find(journal, segment, sequence, taker)
        except OSError as error:
            if error.errno not in _LOST:
                raise
            if segment in journal.segments:  # else it was retired meanwhile
                journal.note(Damage(segment.path, 0, 0, error.strerror or str(error)))
            continue
        if not taker.empty:
            return


def _find(journal: Journal, segment: Segment, sequence: int, taker: _Taker) -> None:
    number = segment.find(sequence)
    while number is not None and number < len(segment.offsets):
        try:
            for header, data in read_raw(segment, number):
                if header.count and header.end > sequence:  # others only moved cursors
                    taker.take(header, data)
                number += 1
                if taker.full:
                    return
        except (CorruptBlockError, OSError) as error:
            if not taker.empty:
                return  # whoever comes to it, notes it
            if isinstance(error, OSError):
                raise
            if segment not in journal.segments:
                return  # it was retired meanwhile, and its file is another segment's
            offsets = [*segment.offsets[number : number + 2], segment.tail]
            journal.note(Damage(segment.path, offsets[0], offsets[1] - offsets[0], str(error)))
            number += 1


def reaches(journal: Journal) -> int:
    """When the oldest block that is kept was written (ns); 0 where there is none. Blocking."""
    for segment in list(journal.segments):
        try:
            journal.index(segment)
            if segment.offsets:
                return read_meta(segment, 0).stamp.wall
        except (OSError, CorruptBlockError) as error:
            log.error("journal: %s cannot be read: %s", segment.path.name, error)
    return 0


def stored_since(journal: Journal, since: int) -> int:
    """The first sequence that was written at or after a time (ns). Blocking. Raises OSError,
    CorruptBlockError."""
    times = journal.times
    for segment in reversed(journal.segments):
        journal.index(segment)
        for number in reversed(range(len(segment.offsets))):
            if times.of(read_meta(segment, number).stamp) < since:
                return read_block(segment, number).end
    return journal.start
