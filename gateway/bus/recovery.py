"""Opening a journal: what is there, where it ends, and what was to be remembered."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.block import CorruptBlockError
from gateway.bus.records import CursorRecord, Meta, RepeatKeys, Stamp
from gateway.bus.segment import Damage, Segment, open_segment, scan

log = logging.getLogger(__name__)

REPEAT_BLOCKS = 256
"""How many of the last blocks' repeat keys are given back for each source, at most."""


@dataclass(slots=True)
class Recovered:
    """What a journal directory holds. segments: oldest first; the last one is scanned.

    cursors: the latest record of each. keys: repeat keys of each source, oldest first. stamp: of
    the last block. damage: what was skipped.
    """

    segments: list[Segment] = field(default_factory=list)
    cursors: dict[str, CursorRecord] = field(default_factory=dict)
    keys: dict[str, deque[RepeatKeys]] = field(default_factory=dict)
    stamp: Stamp = field(default_factory=Stamp)
    damage: list[Damage] = field(default_factory=list)
    least: int = 1

    @property
    def end(self) -> int:
        """The sequence that the next reading gets."""
        return max(self.segments[-1].end, self.least) if self.segments else self.least

    def take(self, meta: Meta) -> None:
        self.cursors.update(meta.cursors)
        for name in meta.removed:
            self.cursors.pop(name, None)
        for keys in meta.keys:
            self.keys.setdefault(keys.source, deque(maxlen=REPEAT_BLOCKS)).append(keys)
        self.stamp = meta.stamp


def recover(directory: Path) -> Recovered:
    """Read the segments in `directory`. Never raises for what they contain, only OSError for a
    directory that cannot be read. A segment whose head is damaged is set aside as `.damaged`."""
    found = Recovered()
    for path in sorted(directory.glob("*.seg")):
        try:
            found.segments.append(open_segment(path))
        except (CorruptBlockError, OSError) as error:
            _set_aside(path, error)
            found.damage.append(
                Damage(path, 0, path.stat().st_size if path.exists() else 0, "head")
            )
    _drop_unbegun(found)
    metas: deque[Meta] = deque()
    for segment in reversed(found.segments):
        # Repeats reach back over the border to earlier segments, of which some may be short.
        metas.extendleft(reversed(list(_metas(segment, found.damage))))
        if len(metas) >= REPEAT_BLOCKS:
            break
    for meta in metas:
        found.take(meta)
    for damage in found.damage:
        log.error(
            "journal: %s: %d bytes at %d are damaged (%s) and were skipped",
            damage.path.name, damage.length, damage.offset, damage.reason,
        )  # fmt: skip
    return found


def _metas(segment: Segment, damage: list[Damage]) -> Iterator[Meta]:
    try:
        for found in scan(segment):
            if isinstance(found, Damage):
                damage.append(found)
                continue
            header, data = found
            yield blocks.decode_meta(data, 0, header)
    except (CorruptBlockError, OSError) as error:
        damage.append(Damage(segment.path, segment.tail, 0, str(error)))


def _drop_unbegun(found: Recovered) -> None:
    """Forget a last segment whose first block a crash has torn.

    It begins where an earlier segment may hold the same block, from a commit that had failed
    there; that one is whole, and its cursors already count what is in it.
    """
    while len(found.segments) > 1:
        last = found.segments[-1]
        try:
            if any(not isinstance(part, Damage) for part in scan(last)):
                return
            last.path.unlink(missing_ok=True)
        except OSError as error:
            found.damage.append(Damage(last.path, 0, 0, str(error)))
            return
        found.least = max(found.least, last.first)
        found.segments.pop()


def _set_aside(path: Path, error: Exception) -> None:
    log.error("journal: %s cannot be read (%s); set aside as %s.damaged", path, error, path.name)
    try:
        path.rename(path.with_suffix(".seg.damaged"))
    except OSError as rename_error:
        log.error("journal: %s cannot be set aside: %s", path, rename_error)
