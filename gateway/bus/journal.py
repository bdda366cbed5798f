"""The durable log: entries are gathered, written as one block, made durable, then told.

One writer thread owns the files. The event loop appends entries and moves cursors; both only
touch memory under a lock. What the thread has committed it hands back to the loop, in order.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gateway.bus import block as blocks
from gateway.bus.block import Block
from gateway.bus.gather import Entry, Gathering, Taken
from gateway.bus.kept import JournalOptions, Kept
from gateway.bus.records import CursorRecord, Meta, Stamp, merged
from gateway.bus.recovery import Recovered, recover
from gateway.bus.segment import Segment, sync_directory
from gateway.bus.segment_writer import SegmentWriter, settle
from gateway.core.contracts import Flag

log = logging.getLogger(__name__)

_RETRY = 1.0
_UNSYNCED = Flag.UNSYNCED.value

Committed = Callable[[Block, Sequence[Entry], float], None]
Failed = Callable[[Exception], None]


class Journal(Kept):
    """See the module. Open it, `start` it inside a running loop, `stop` it.

    backlog: readings waiting for a commit. appended: bytes committed since the start.
    """

    def __init__(
        self, directory: Path, options: JournalOptions, stamp: Callable[[], Stamp]
    ) -> None:
        super().__init__(directory, options, stamp)
        self.backlog = 0
        self.appended = 0
        self._aside = 0
        self._gathering = Gathering(options.gather, options.frames, options.size)
        self._uncommitted = threading.Lock()
        self._stopping = threading.Event()
        self._at_work = float("inf")  # since when the thread is at one attempt (monotonic)
        self._records: dict[str, CursorRecord] = {}
        self._matched: Counter[str] = Counter()
        self._writer: SegmentWriter | None = None
        self._thread: threading.Thread | None = None

    def open(
        self, at_least: int = 1, progress: Callable[[str], None] = lambda text: None
    ) -> Recovered:
        """Recover what is there. at_least: the next reading's sequence is not below it, so that a
        subscriber that already knows a sequence never meets another reading under it. progress:
        told, in words, as it gets on.
        Raises OSError if the directory cannot be made or read."""
        self._directory.mkdir(parents=True, exist_ok=True)
        found = recover(self._directory, progress)
        self._settle(found.segments)
        for damage in found.damage:
            self.note(damage)
        self.segments = found.segments
        self._aside = found.aside
        self._keep_one(found.spares)
        self.times = found.times
        used = sum(map(self.size_of, self.segments))
        segment = self._room.fitting(used + self._spare_size(), self.options.segment)
        self.options = replace(self.options, segment=segment)
        self._measure()
        positions = [p for record in found.cursors.values() for p in record.lanes]
        self._next = max([found.end, at_least, *positions])
        self._records = dict(found.cursors)
        self._matched = Counter({name: r.matched for name, r in found.cursors.items()})
        return found

    def adjust(self, options: JournalOptions) -> None:
        """Go by other options from now on; the size of segments stays."""
        self.options = replace(options, segment=self.options.segment)
        self._gathering.adjust(options.gather, options.frames, options.size)

    def _settle(self, segments: Sequence[Segment]) -> None:
        """Nobody may be told of what was found before a power cut can no longer take it."""
        try:
            if segments:
                settle(segments[-1])
            for directory in (self._directory, *self._directory.absolute().parents[:2]):
                sync_directory(directory)
        except OSError as error:
            log.error("journal: what was found cannot be made durable: %s", error)

    def run(self, loop: asyncio.AbstractEventLoop, committed: Committed, failed: Failed) -> None:
        """Start the writer thread; `committed` is called on `loop` after each commit, `failed` if
        the thread ends by an error that is not the disk's: nothing is stored from then on."""

        def work() -> None:
            try:
                self._work(loop, committed)
            except Exception as error:  # noqa: BLE001 - the thread's edge: told, not swallowed
                loop.call_soon_threadsafe(failed, error)

        self._thread = threading.Thread(target=work, name="journal", daemon=True)
        self._thread.start()

    def append(self, entry: Entry) -> None:
        """Queue an entry for the next commit. Never blocks; see `backlog` for when to wait."""
        with self._uncommitted:
            self.backlog += len(entry.readings)
        self._gathering.append(entry)

    def hurry(self) -> None:
        """Commit what is queued now, however little it is."""
        self._gathering.hurry()

    def move(self, name: str, record: CursorRecord) -> None:
        """A cursor has moved: it rides in the next block, alone after a while."""
        self._gathering.move(name, record)

    def recount(self, name: str, difference: int) -> None:
        """What a cursor's subscription has matched was counted again."""
        self._gathering.recount(name, difference)

    def remove(self, name: str) -> None:
        """A cursor is gone for good."""
        self._gathering.remove(name)

    def stop(self) -> None:
        """Commit what is queued and end the thread; blocks for that commit."""
        self._stopping.set()
        self._gathering.end()
        if self._thread is not None:
            self._thread.join()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def stuck_for(self) -> float:
        """How long (s) the writer has been at one attempt to write, or has left what is due; 0.0
        while there is nothing for it to do. A disk that refuses ends an attempt; one that hangs
        does not."""
        if self._thread is None or self._stopping.is_set():
            return 0.0
        return max(time.monotonic() - self._at_work, 0.0) or self._gathering.overdue()

    # -- the writer thread ------------------------------------------------------------------

    def _work(self, loop: asyncio.AbstractEventLoop, committed: Committed) -> None:
        while (taken := self._gathering.take()) is not None:
            self._at_work = time.monotonic()
            readings = [r for entry in taken.entries for r in entry.readings]
            meta = self._meta(taken)
            block = Block(self._next, readings, meta)
            started = time.monotonic()
            if (readings or meta.cursors or meta.removed) and not self._commit(block):
                return
            self._at_work = float("inf")
            self._next = block.end
            took = time.monotonic() - started
            with self._uncommitted:
                self.backlog -= len(readings)
            try:
                loop.call_soon_threadsafe(committed, block, taken.entries, took)
            except RuntimeError:
                return  # the loop is closed: nobody is left to be told

    def _meta(self, taken: Taken) -> Meta:
        """What becomes durable with the readings; brings the cursors' records up to date."""
        self._records.update(taken.moved)
        for name, difference in taken.recounted.items():
            self._matched[name] += difference
        changed = {*taken.moved, *taken.recounted}
        for entry in taken.entries:
            for name, count in entry.matched.items():
                self._matched[name] += count
                changed.add(name)
        for name in taken.removed:
            self._records.pop(name, None)
            self._matched.pop(name, None)
        stamp = self._stamp()
        if stamp.base and not any(r.flags & _UNSYNCED for e in taken.entries for r in e.readings):
            stamp.base = 0
        return Meta(
            stamp=stamp,
            keys=merged([entry.keys for entry in taken.entries if entry.keys is not None]),
            cursors={name: self._record(name) for name in changed if name in self._records},
            removed=taken.removed,
        )

    def _record(self, name: str) -> CursorRecord:
        record = self._records[name]
        record.matched = self._matched[name]
        return record

    def _commit(self, block: Block) -> bool:
        """Write until the disk takes it; False if stopped while it refuses."""
        while True:
            self._at_work = time.monotonic()
            try:
                self._write(block)
            except OSError as error:
                self._refused(error)
                if self._stopping.wait(_RETRY):
                    return False
                continue
            if self.trouble:
                log.warning("journal: the disk takes data again")
                self.trouble = ""
            return True

    def _write(self, block: Block) -> None:
        writer = self._writer or self._resume(block.first)
        data = self._encode(block, writer.segment)
        if not writer.fits(len(data)):
            self._writer = None
            writer.segment.sealed = True  # also where there is no room for the next one yet
            writer.finish()
            writer = self._create(block.first)
            data = self._encode(block, writer.segment)
        data = writer.filled(data)
        writer.append(data)
        writer.sync()
        writer.note(data)
        self.appended += len(data)

    def _encode(self, block: Block, segment: Segment) -> bytes:
        if not segment.firsts:
            # Recovery reads one segment only, so each begins with every cursor.
            block.meta.cursors = {name: self._record(name) for name in self._records}
        return blocks.encode(block, segment.index)

    def _resume(self, first: int) -> SegmentWriter:
        last = self.segments[-1] if self.segments else None
        fit = last is not None and last.scanned and last.end == first and bool(last.firsts)
        if last is None or not fit or last.sealed:
            return self._create(first)
        self._writer = SegmentWriter.resume(last, self.options.segment)
        return self._writer

    def _create(self, first: int) -> SegmentWriter:
        index = max(self._aside, self.segments[-1].index if self.segments else 0) + 1
        self._writer = self._new_segment(index, first)
        self.segments.append(self._writer.segment)
        return self._writer

    def _refused(self, error: OSError) -> None:
        # After a failed fsync the kernel may have dropped the pages and calls them clean: the
        # same file cannot be trusted with a second try, so the commit goes to a new one.
        if not self.trouble:
            log.error("journal: the disk refuses: %s; devices are held back until it takes", error)
        self.trouble = str(error)
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.segment.sealed = True
            if not writer.segment.firsts:
                self.segments.remove(writer.segment)
                writer.segment.path.unlink(missing_ok=True)
            # The room prepared in it would count as kept, and retention would drop what is young.
            with suppress(OSError):
                writer.finish()
