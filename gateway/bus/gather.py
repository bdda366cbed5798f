"""What waits for the next commit: entries and moved cursors, gathered under one lock.

The event loop puts in; the journal's writer thread takes out. Neither waits for the other.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.bus.records import CursorRecord, RepeatKeys
from gateway.core.contracts import Reading

MAX_BLOCK = 5_000
"""Most readings in one block: bounds what one commit holds back and what one read must decode."""
MAX_BYTES = 1_000_000
"""Most bytes in one block, as received, if one entry alone has not more: for a moment a block is in
memory several times, as columns, packed and whole."""


@dataclass(slots=True)
class Entry:
    """What is journalled together and told together: the readings of one burst.

    size: bytes as received. matched: how many of the readings each durable subscription wants.
    gather: longest it may wait for its commit (s), if the journal's own setting is not shorter;
    None: that. waited: how much of it may be over (s).
    done: called on the loop once it is durable, in the order of `append`. first: the sequence of
    its first reading, known by then.
    """

    readings: Sequence[Reading]
    size: int = 0
    keys: RepeatKeys | None = None
    matched: dict[str, int] = field(default_factory=dict)
    gather: float | None = None
    waited: float = 0.0
    done: Callable[[], None] | None = None
    first: int = 0


@dataclass(slots=True)
class Taken:
    """What goes into one block. moved: cursors by name; recounted: differences to what they had
    matched; removed: names of cursors that are gone."""

    entries: list[Entry]
    moved: dict[str, CursorRecord]
    recounted: Counter[str]
    removed: list[str]


class Gathering:
    """See the module. longest: how long an entry waits (s), if it does not say itself; frames,
    size: at so many readings or bytes nothing waits any longer."""

    def __init__(self, longest: float, frames: int, size: int) -> None:
        self._longest = longest
        self._most = (frames, size)
        self._ready = threading.Condition()
        self._entries: list[Entry] = []
        self._moved: dict[str, CursorRecord] = {}
        self._recounted: Counter[str] = Counter()
        self._removed: list[str] = []
        self._readings = 0
        self._size = 0
        self._due = float("inf")
        self._ending = False

    def adjust(self, longest: float, frames: int, size: int) -> None:
        """Go by other settings from now on."""
        with self._ready:
            self._longest = longest
            self._most = (frames, size)
            if self._entries or self._moved:
                self._expect(longest)

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        with self._ready:
            self._entries.append(entry)
            self._readings += len(entry.readings)
            self._size += entry.size
            if self._readings >= self._most[0] or self._size >= self._most[1]:
                self._expect(0.0)
            else:
                longest = self._longest
                if entry.gather is not None:
                    longest = min(entry.gather, longest)
                self._expect(max(longest - entry.waited, 0.0))

    def move(self, name: str, record: CursorRecord) -> None:
        """Add a moved cursor: it rides with the next entries, alone after a second, or after as
        long as an entry may wait: whoever spares the card loses no more by it than by that."""
        with self._ready:
            self._moved[name] = record
            self._expect(max(self._longest, 1.0))

    def recount(self, name: str, difference: int) -> None:
        """What a cursor's subscription has matched was counted again."""
        with self._ready:
            self._recounted[name] += difference
            self._expect(1.0)

    def remove(self, name: str) -> None:
        """A cursor is gone for good."""
        with self._ready:
            self._moved.pop(name, None)
            self._removed.append(name)
            self._expect(1.0)

    def overdue(self) -> float:
        """How long (s) something has been due and nobody took it; 0.0 if nothing is."""
        with self._ready:
            return max(time.monotonic() - self._due, 0.0)

    def hurry(self) -> None:
        """Let nothing wait any longer, however little it is."""
        with self._ready:
            self._expect(0.0)

    def end(self) -> None:
        """Nothing more comes: what is there is taken at once, then None."""
        with self._ready:
            self._ending = True
            self._ready.notify()

    def take(self) -> Taken | None:
        """Wait until something is due and take it, at most a block's worth; None at the end."""
        with self._ready:
            while not self._ending and (wait := self._due - time.monotonic()) > 0:
                self._ready.wait(wait if wait < threading.TIMEOUT_MAX else None)
            if self._ending and not (
                self._entries or self._moved or self._recounted or self._removed
            ):
                return None
            entries, self._entries = _cut(self._entries)
            self._readings = sum(len(entry.readings) for entry in self._entries)
            self._size = sum(entry.size for entry in self._entries)
            self._due = time.monotonic() if self._entries else float("inf")
            taken = Taken(entries, self._moved, self._recounted, self._removed)
            self._moved, self._recounted, self._removed = {}, Counter(), []
            return taken

    def _expect(self, within: float) -> None:
        due = time.monotonic() + within
        if due < self._due:
            self._due = due
            self._ready.notify()


def _cut(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The entries that go into one block, and those that stay."""
    count = size = 0
    for number, entry in enumerate(entries):
        count += len(entry.readings)
        size += entry.size
        if number and (count > MAX_BLOCK or size > MAX_BYTES):
            return entries[:number], entries[number:]
    return entries, []
