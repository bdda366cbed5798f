"""An input pin: level changes on their way from gpiozero's thread to the event loop.

What waits is bounded, and a pin that changes faster than anything that is connected to it can,
such as a wire that ends in the air, is left alone for a while: each change costs the processor
some 20 µs, whether anybody wants it or not.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

_MOST = 20_000  # changes that may wait for the loop
_FIRST, _LONGEST = 1.0, 30.0  # how long a pin is left alone (s)
_FILTER = 2.0  # how long a level must last meanwhile to be told at all (s); lgpio takes up to 5

Change = tuple[float, bool]
"""When, in the factory's seconds; the level from then on."""


class EdgePin:
    """See the module. number: of the pin. pull: up, down or floating. rate: changes a second that
    are believed. wake: called from gpiozero's thread when something begins to wait.

    dropped: changes that were thrown away. stormy: changes in the second before it was left alone,
    0 while it is not. seen: changes that came.
    """

    def __init__(self, number: int, pull: str, rate: int, wake: Callable[[], None]) -> None:
        self.number = number
        self._pull = pull
        self._rate = rate
        self._wake = wake
        self._waiting: deque[Change] = deque()
        self._overflowed = 0  # counted in gpiozero's thread only
        self._thrown = 0  # on the loop only
        self._pin: Any = None
        self._factory: Any = None
        self._second, self._count = 0.0, 0
        self._pause = _FIRST
        self._again: asyncio.TimerHandle | None = None
        self._resumed = 0.0
        self.stormy = 0
        self.seen = 0

    def open(self, factory: Any) -> bool:
        """Begin to listen; the level at that time. Raises what gpiozero does."""
        self._factory = factory
        self._waiting.clear()
        self.stormy, self._second, self._count = 0, 0.0, 0
        pin = self._pin = factory.pin(self.number)
        if pin.frequency:
            pin.frequency = None
        pin.input_with_pull(self._pull)
        pin.edges = "both"
        # Ours is the same with every factory, and knows when a contact began to bounce.
        pin.bounce = None
        pin.when_changed = self._changed
        return bool(pin.state)

    def close(self) -> None:
        """Give the pin back."""
        if self._again is not None:
            self._again.cancel()
        if self._pin is not None:
            self._pin.when_changed = None
            self._pin.close()
            self._pin = None

    @property
    def dropped(self) -> int:
        """See the class."""
        return self._overflowed + self._thrown

    def _changed(self, ticks: float, level: Any) -> None:
        """In gpiozero's thread."""
        self.seen += 1
        if self.stormy or len(self._waiting) >= _MOST:
            self._overflowed += 1
            return
        self._waiting.append((ticks, bool(level)))
        self._wake()

    def take(self) -> list[Change]:
        """What has come since; on the loop."""
        found: list[Change] = []
        while self._waiting:
            found.append(self._waiting.popleft())
        if not found:
            return found
        if found[0][0] - self._second >= 1.0:
            self._second, self._count = found[0][0], 0
        self._count += len(found)
        # The loop may have been busy for longer than a second.
        allowed = int(self._rate * max(found[-1][0] - self._second, 1.0))
        if self._count <= allowed:
            return found
        kept = max(len(found) - (self._count - allowed), 0)
        self._thrown += len(found) - kept
        if not self.stormy:
            self._leave_alone()
        return found[:kept]

    def _leave_alone(self) -> None:
        loop = asyncio.get_running_loop()
        self.stormy = self._count
        # The filter of lgpio's own thread: hardly anything gets through it, and nothing as far as
        # Python. Not by taking when_changed away, which a change that is under way stumbles over.
        self._pin.bounce = _FILTER
        if loop.time() - self._resumed > _LONGEST:
            self._pause = _FIRST
        self._again = loop.call_later(self._pause, self._resume)
        self._pause = min(2 * self._pause, _LONGEST)

    def _resume(self) -> None:
        self._resumed = asyncio.get_running_loop().time()
        self._thrown += len(self._waiting)
        self._waiting.clear()
        self.stormy, self._second, self._count = 0, 0.0, 0
        self._pin.bounce = None
        # What it is now: the change to it was not seen.
        self._changed(self._factory.ticks(), self._pin.state)
