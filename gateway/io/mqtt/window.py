"""How many unacknowledged messages a broker allows: it does not say, so it is learnt.

Brokers stop at their own limit (mosquitto 20 by default for MQTT 3.1.1, others 10 to 32), and we
acknowledge only after a commit that waits for more messages to share it. Without knowing the
limit both would wait for each other until the longest time a commit may wait is over.
"""

import threading
import time
from collections.abc import Callable

_LEAST = 8  # fewer unacknowledged messages than this are no sign of a limit
_QUIET = 0.05  # the broker had stopped if nothing came for so long before we acknowledged (s),
_GAPS = 8  # and for so many times what lay between two messages before: devices may be slow
_LATE = 1.5  # and for so many times as long as we may not have looked
_SOON = 0.1  # … and had been waiting for us if something came so soon after (s)


class Window:
    """What one connection is seen to allow. limit: None while there is no sign of one. most: the
    most messages that were unacknowledged at a time; it allows these at least. late: how long what
    has come may lie in the socket before we look, at the moment (s)."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        late: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.limit: int | None = None
        self.most = 0
        self._late = late
        self._clock = clock
        self._lock = threading.Lock()
        self._unacknowledged = 0
        self._began_at = 0.0  # when the first of them came
        self._arrived_at = 0.0  # and the last
        self._stopped_at: int | None = None
        self._acknowledged_at = 0.0

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged yet."""
        return self._unacknowledged

    def arrived(self, count: int) -> bool:
        """`count` messages have come that want an acknowledgement; True if no more will come
        before they get one."""
        now = self._clock()
        with self._lock:
            if self._stopped_at is not None and now - self._acknowledged_at < _SOON:
                self.limit = self._stopped_at
            self._stopped_at = None
            if not self._unacknowledged:
                self._began_at = now
            self._arrived_at = now
            self._unacknowledged += count
            self.most = max(self.most, self._unacknowledged)
            if self.limit is not None and self._unacknowledged > self.limit:
                self.limit = None  # it allows more than that
            return self.limit is not None and self._unacknowledged >= self.limit

    def acknowledged(self, count: int) -> None:
        """`count` of them were acknowledged."""
        now = self._clock()
        with self._lock:
            if self._unacknowledged >= _LEAST and now - self._arrived_at > self._quiet():
                self._stopped_at = self._unacknowledged
            self._acknowledged_at = now
            self._unacknowledged = max(self._unacknowledged - count, 0)

    def _quiet(self) -> float:
        """How long nothing may have come before that says something (s)."""
        gap = (self._arrived_at - self._began_at) / self._unacknowledged
        return max(_QUIET, _GAPS * gap, _LATE * self._late())

    def renewed(self) -> None:
        """The connection is a new one: nothing is unacknowledged on it."""
        with self._lock:
            self._unacknowledged = self.most = 0
            self._stopped_at = None
