"""What a broker kept for us while we were away comes at once when we are back, and came to it
earlier. MQTT tells no times: it is known by coming right after a connection to a session that was
there, one message after the other."""

import time
from collections.abc import Callable

_QUIET = 0.25  # s
_LONGEST = 10.0  # s; live messages may follow so close that it is never quiet


class Backlog:
    """Tells what waited from what did not; used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open = False
        self._began = self._last = 0.0

    def connected(self, session_present: bool) -> None:
        """The broker has accepted us; session_present: it knew us (MQTT 5.0 section 3.2.2.1.1)."""
        self._open = session_present
        self._began = self._last = self._clock()

    def late(self) -> bool:
        """Whether what has arrived now had waited: until it was quiet for a moment."""
        if self._open:
            now = self._clock()
            self._open = now - self._last < _QUIET and now - self._began < _LONGEST
            self._last = now
        return self._open
