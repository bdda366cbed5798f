"""The segments of a journal that are kept: what is known of them, how old they are, and which one
goes next."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.records import Stamp
from gateway.bus.room import Room
from gateway.bus.segment import (
    SEGMENT_SIZE,
    Damage,
    Segment,
    read_meta,
    scan,
    spare_path,
    sync_directory,
)
from gateway.bus.segment_writer import SegmentWriter
from gateway.bus.times import Times

log = logging.getLogger(__name__)

_MOST_DAMAGE = 1_000  # places remembered: a card that dies may have a great many


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """gather: longest an entry waits for its commit (s). frames, size: commit earlier at so many
    readings or bytes. max_size (bytes), max_age (s): what is kept. segment: the most that one
    file takes (bytes). ballast: what is held to be let go on a full disk (bytes)."""

    gather: float = 1.0
    frames: int = 500
    size: int = 256 * 1024
    max_size: int = 10**9
    max_age: float = 7 * 86_400.0
    segment: int = SEGMENT_SIZE
    ballast: int = 0


class Kept:
    """See the module. segments: oldest first. damage: what was found that cannot be used, by file
    name and offset. times: what is known of the boots that blocks were written in. stamp: what
    time it is, as blocks tell it. trouble: why the disk refuses at the moment, or "".

    The file of a segment that goes is kept, one at a time, and becomes the next segment: what need
    not be zeroed again wears a card less. Not where the disk has not the room for max_size.
    """

    def __init__(
        self, directory: Path, options: JournalOptions, stamp: Callable[[], Stamp]
    ) -> None:
        self.options = options
        self.segments: list[Segment] = []
        self.damage: dict[tuple[str, int], Damage] = {}
        self.times = Times()
        self.trouble = ""
        self._directory = directory
        self._room = Room(directory, options.ballast)
        self._stamp = stamp
        self._indexing = threading.Lock()
        self._sparing = threading.Lock()
        self._spare: Path | None = None
        self._next = 1

    def note(self, damage: Damage) -> None:
        """Remember what cannot be used, and say so once. Any thread may call it."""
        place = damage.path.name, damage.offset
        if place not in self.damage and len(self.damage) < _MOST_DAMAGE:
            self.damage[place] = damage
            log.error(
                "journal: %s: %d bytes at %d cannot be used (%s) and are skipped; what is whole "
                "is kept", damage.path.name, damage.length, damage.offset, damage.reason,
            )  # fmt: skip

    def index(self, segment: Segment) -> None:
        """Look for a segment's blocks, if that was not done yet. Raises OSError."""
        with self._indexing:  # two readers at once would note every block twice
            if not segment.scanned:
                for found in scan(segment):
                    if isinstance(found, Damage):
                        self.note(found)

    @property
    def start(self) -> int:
        """The oldest sequence that is kept."""
        return self.segments[0].first if self.segments else self._next

    @property
    def next(self) -> int:
        """The sequence that the next committed reading gets."""
        return self._next

    @property
    def written(self) -> int:
        """The sequence after the last reading that can be read; `next` where nothing is lost."""
        return self.segments[-1].end if self.segments else self._next

    @property
    def stored(self) -> int:
        """What the journal's blocks take, without the space prepared ahead."""
        total = sum(s.tail for s in self.segments if s.scanned)
        return total + self.options.segment * sum(not s.scanned for s in self.segments)

    @property
    def quota(self) -> int:
        """Bytes that may be kept: `max_size`, or less where the file system has not the room."""
        return self._room.quota

    def size_of(self, segment: Segment) -> int:
        """Bytes that a segment takes on the disk."""
        try:
            return segment.path.stat().st_size
        except OSError:
            return 0

    def _measure(self) -> int:
        used = sum(map(self.size_of, list(self.segments)))
        most = self.options.max_size
        self._room.look(used, self.options.segment, most, self._spare_size())
        if self.quota < most and (spare := self._take_spare()) is not None:
            spare.unlink(missing_ok=True)
        return used

    def _spare_size(self) -> int:
        try:
            return self._spare.stat().st_size if self._spare is not None else 0
        except OSError:
            return 0

    def _keep_one(self, spares: list[Path]) -> None:
        """Of the files that wait to become a segment, found at a start, keep the newest."""
        self._spare = spares[-1] if spares else None
        for spare in spares[:-1]:
            with suppress(OSError):
                spare.unlink()

    def _take_spare(self) -> Path | None:
        """The spare file; it is nobody else's from now on."""
        with self._sparing:
            spare, self._spare = self._spare, None
        return spare

    def _new_segment(self, index: int, first: int) -> SegmentWriter:
        """The next segment, of the spare file if there is one. Raises OSError."""
        size = self.options.segment
        self._room.admit(max(size - self._spare_size(), 0))
        if (spare := self._take_spare()) is not None:
            try:
                return SegmentWriter.reuse(spare, index, first, size)
            except OSError as error:
                log.warning("journal: %s cannot be used again: %s", spare.name, error)
                with suppress(OSError):
                    spare.unlink()
        return SegmentWriter.create(self._directory, index, first, size)

    def expired(self) -> Segment | None:
        """The oldest segment, if it is to go: too many bytes, or too old by a clock that counts
        only while the machine runs, or across boots by the lowest that it can be by now."""
        used = self._measure()
        if len(self.segments) < 2:
            return None
        oldest = self.segments[0]
        return oldest if used > self.quota or self.age(oldest) > self.options.max_age else None

    def now(self) -> int:
        """The time (ns, UTC) as far as it can be told."""
        return self.times.of(self._stamp())

    def now_at_least(self) -> int:
        """The time (ns, UTC) that it is at the least, for what deletes."""
        return self.times.at_least(self._stamp())

    def retire(self, segment: Segment) -> None:
        """Delete the oldest segment, or keep its file as the spare one. Raises OSError."""
        self.segments.remove(segment)
        keep = self._spare is None and not self.trouble and self.quota >= self.options.max_size
        if keep:
            with suppress(FileNotFoundError):
                segment.path.rename(spare_path(segment))
        else:
            segment.path.unlink(missing_ok=True)
        sync_directory(self._directory)
        # Only now: had the file another segment's head while a power cut brings back its old name,
        # what it held would come back as well.
        if keep:
            with self._sparing:
                self._spare = spare_path(segment)

    def age(self, segment: Segment) -> float:
        """Seconds since the segment's last block, rather too few than too many."""
        newest = self._newest(segment)
        if newest is None:
            return 0.0
        now = self._stamp()
        if newest.boot == now.boot:
            return (now.monotonic - newest.monotonic) / 1e9
        return (self.times.at_least(now) - self.times.of(newest)) / 1e9

    def _newest(self, segment: Segment) -> Stamp | None:
        try:
            self.index(segment)
            return read_meta(segment, len(segment.offsets) - 1).stamp
        except (OSError, IndexError, blocks.CorruptBlockError):
            return None
