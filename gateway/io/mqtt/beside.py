"""Topics that are subscribed to besides those of the configuration, because a device announced
them. Wanted on the event loop, subscribed to in the network thread. Those of an earlier run stay
for a minute: the devices that announced them go on, and announce themselves again."""

import threading
import time
from collections.abc import Callable, Iterable

_SETTLED = 60.0  # s; by then whoever is still there has announced itself again
_MOST = 10_000


class Beside:
    """See the module. topics: those that are or should be subscribed to. asked: packets whose
    answer is awaited."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.topics: set[str] = set()
        self.asked: set[int | None] = set()
        self._clock = clock
        self._lock = threading.Lock()
        self._come: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._left: set[str] = set()  # of an earlier run, not wanted again yet
        self._since = clock()

    def want(self, topic: str, wanted: bool) -> None:
        """Subscribe to a topic soon, or no longer; from any thread."""
        with self._lock:
            if wanted:
                self._gone.pop(topic, None)
                self._left.discard(topic)
                self._come[topic] = None
            elif topic in self.topics or topic in self._come:
                self._come.pop(topic, None)
                self._gone[topic] = None

    def begin(self, before: Iterable[str]) -> None:
        """A connection begins; before: what the session was subscribed to."""
        with self._lock:
            left = set(before) - self.topics
            self._left |= left
            self.topics |= left
            self._since = self._clock()
            self.asked.clear()

    def changes(self) -> tuple[list[str], list[str]]:
        """What is to be subscribed to now, and what no longer."""
        if not (self._come or self._gone or self._left):
            return [], []
        with self._lock:
            if self._left and self._clock() - self._since >= _SETTLED:
                self._gone |= dict.fromkeys(self._left)
                self._left.clear()
            # One of an earlier run that is wanted again is subscribed to again: only so is what is
            # retained sent.
            come = list(self._come)[: max(_MOST - len(self.topics), 0)]
            gone = [topic for topic in self._gone if topic in self.topics]
            self.topics = (self.topics | set(come)) - set(gone)
            self._come.clear()
            self._gone.clear()
            return come, gone
