"""Reading the journal back from the disk: whatever is whole, past whatever is not."""

import errno
from bisect import bisect_right

from gateway.bus.block import Block, CorruptBlockError
from gateway.bus.journal import Journal
from gateway.bus.segment import Damage, Segment, read_blocks

_LOST = frozenset({
    errno.EIO, errno.ENOENT, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO,
    errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EILSEQ,
})  # fmt: skip
"""What a file answers that will not be read later either. Others pass, as too many open files
does: skipping for them would lose what is whole."""


_RUN = 2_000  # readings that are read at once, if one block has not as many
_RUN_BLOCKS = 256  # small ones take most for what is beside the readings
_RUN_BYTES = 256 * 1024  # and as long as they are no larger: several such are kept


def read(journal: Journal, sequence: int) -> list[Block]:
    """The block that holds `sequence`, or the next one there is, and some that come right behind
    it; none where nothing follows on the disk. Blocking. What is damaged is noted and skipped.
    Raises OSError for what passes."""
    segments = list(journal.segments)
    # The newest segment that begins at or before the sequence: after a failed fsync an older
    # one may hold the same block, which is not to be trusted.
    start = bisect_right(segments, sequence, key=lambda s: s.first) - 1
    for segment in segments[max(start, 0) :]:
        try:
            journal.index(segment)
            found = _find(journal, segment, sequence)
        except OSError as error:
            if error.errno not in _LOST:
                raise
            if segment in journal.segments:  # else it was retired meanwhile
                journal.note(Damage(segment.path, 0, 0, error.strerror or str(error)))
            continue
        if found:
            return found
    return []


def _find(journal: Journal, segment: Segment, sequence: int) -> list[Block]:
    number = segment.find(sequence)
    found: list[Block] = []
    count = size = 0
    while number is not None and number < len(segment.offsets):
        try:
            for block in read_blocks(segment, number):
                number += 1
                if block.readings and block.end > sequence:  # others only moved cursors
                    found.append(block)
                    count += len(block.readings)
                    size += block.size
                if count >= _RUN or size >= _RUN_BYTES or len(found) >= _RUN_BLOCKS:
                    return found
        except (CorruptBlockError, OSError) as error:
            if found:
                return found  # whoever comes to it, notes it
            if isinstance(error, OSError):
                raise
            offsets = [*segment.offsets[number : number + 2], segment.tail]
            journal.note(Damage(segment.path, offsets[0], offsets[1] - offsets[0], str(error)))
            number += 1
    return found
