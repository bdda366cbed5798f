"""Opening a journal: what is there, where it ends, and what was to be remembered."""

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.block import CorruptBlockError
from gateway.bus.records import CursorRecord, Meta, RepeatKeys, Stamp, unmerged
from gateway.bus.segment import START, Damage, Segment, open_segment, path_of, scan
from gateway.bus.times import Times

log = logging.getLogger(__name__)

REPEAT_BLOCKS = 256
"""How many of the last blocks' repeat keys are given back for each source, at most."""
_NAME = re.compile(r"(\d{12,18})\.seg(\.damaged(-\d+)?)?")
_SPARE = re.compile(r"\d{12,18}\.spare")


@dataclass(slots=True)
class Recovered:
    """What a journal directory holds. segments: oldest first; the last one is scanned.

    cursors: the latest record of each. keys: repeat keys of each source, oldest first. stamp: of
    the last block. damage: what was skipped. least: the next reading's sequence is not below it.
    aside: the highest index of a file that is set aside, or of a spare; the next segment's is
    above it. spares: files that wait to become another segment, oldest first.
    unknown: bytes that were set aside behind the last segment. times: what the stamps tell of
    their boots.
    """

    segments: list[Segment] = field(default_factory=list)
    cursors: dict[str, CursorRecord] = field(default_factory=dict)
    keys: dict[str, deque[RepeatKeys]] = field(default_factory=dict)
    stamp: Stamp = field(default_factory=Stamp)
    damage: list[Damage] = field(default_factory=list)
    least: int = 1
    aside: int = 0
    spares: list[Path] = field(default_factory=list)
    unknown: int = 0
    times: Times = field(default_factory=Times)

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
        self.times.learn(meta.stamp)


def recover(directory: Path, progress: Callable[[str], None] = lambda text: None) -> Recovered:
    """Read the segments in `directory`, telling `progress` of each block. Never raises for what
    they contain, only OSError for a directory that cannot be read. What holds no block of ours is
    set aside as `.damaged`."""
    found = Recovered()
    for path in sorted(directory.glob("*.seg*"), key=_index):
        name = _NAME.fullmatch(path.name)
        if name is None:
            found.damage.append(Damage(path, 0, _size(path), "not a file of the journal"))
        elif name[2]:
            found.aside = max(found.aside, int(name[1]))
            found.damage.append(Damage(path, 0, _size(path), "set aside earlier"))
        else:
            _open(path, found)
    found.spares = sorted(p for p in directory.glob("*.spare") if _SPARE.fullmatch(p.name))
    # Blocks with that index lie in it.
    found.aside = max([found.aside, *(int(path.stem) for path in found.spares)])
    _drop_unbegun(found)
    _note_missing(directory, found)
    metas: deque[Meta] = deque()
    for segment in reversed(found.segments):
        # Repeats reach back over the border to earlier segments, of which some may be short; and
        # only a segment's first block has every cursor.
        metas.extendleft(reversed(list(_metas(segment, found.damage, progress))))
        if len(metas) >= REPEAT_BLOCKS and segment.offsets and segment.offsets[0] == START:
            break
    for meta in metas:
        found.take(meta)
    for source, keys in found.keys.items():  # those that are left
        found.keys[source] = deque(map(unmerged, keys), REPEAT_BLOCKS)
    # The readings of a last segment that was set aside had sequences, at most one for each byte:
    # nobody else may get them.
    found.least = max(found.least, found.end + found.unknown)
    return found


def _open(path: Path, found: Recovered) -> None:
    """Take a segment in, if anything of it can be used."""
    try:
        segment = open_segment(path)
    except CorruptBlockError as error:
        segment = Segment(path, int(path.stem), 0)
        if not _headless(segment, str(error), found):
            return
    except OSError as error:
        _set_aside(path, error.strerror or str(error), found)
        return
    if found.segments and segment.first < found.segments[-1].first:
        _set_aside(path, "begins before the segment before it", found)
        return
    found.segments.append(segment)
    found.unknown = 0


def _headless(segment: Segment, reason: str, found: Recovered) -> bool:
    """Whether a segment without a head has blocks: its name tells the index that their checksums
    are seeded with."""
    try:
        for _ in scan(segment):
            pass
        if segment.firsts:
            segment.first = segment.firsts[0]
            found.damage.append(Damage(segment.path, 0, START, reason))
            return True
        if not segment.path.read_bytes().strip(b"\0"):
            segment.path.unlink()  # a crash came while it was made: nothing was ever in it
            return False
    except OSError as error:
        reason = error.strerror or str(error)
    _set_aside(segment.path, reason, found)
    return False


def _metas(
    segment: Segment, damage: list[Damage], progress: Callable[[str], None]
) -> Iterator[Meta]:
    doing = f"reading {segment.path.name}"
    try:
        for found in scan(segment):
            if isinstance(found, Damage):
                damage.append(found)
                continue
            header, data = found
            progress(doing)
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


def _note_missing(directory: Path, found: Recovered) -> None:
    known = {segment.index for segment in found.segments}
    known |= {_index(damage.path) for damage in found.damage if _index(damage.path)}
    for before, after in pairwise(sorted(known)):
        if after > before + 1:
            found.damage.append(Damage(path_of(directory, before + 1), 0, 0, "missing"))


def _index(path: Path) -> int:
    name = _NAME.fullmatch(path.name)
    return int(name[1]) if name else 0


def _set_aside(path: Path, reason: str, found: Recovered) -> None:
    size = _size(path)
    found.aside = max(found.aside, _index(path))
    found.damage.append(Damage(path, 0, size, reason))
    found.unknown = size
    for number in range(1, 100):
        aside = path.with_name(f"{path.name}.damaged{f'-{number}' if number > 1 else ''}")
        if not aside.exists():
            break
    try:
        path.rename(aside)
    except OSError as error:
        log.error("journal: %s cannot be set aside: %s", path, error)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
