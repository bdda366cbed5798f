"""What a contact says that bounces: a level counts once it has lasted."""

from collections.abc import Iterator

Edge = tuple[float, bool]
"""When (s, a clock that is never set), and the level from then on."""


class Debounce:
    """The level of one input. level: as it is at first, then the one that lasts. window: how long
    a level must last to count (s); with 0 every change does.

    A change is given the time at which the contact left its old level, not that at which it came
    to rest: that is when the door was opened.
    """

    def __init__(self, level: bool, window: float) -> None:
        self.level = level
        self._window = window
        self._raw = level
        self._first: float | None = None  # when it left the level that lasted
        self._since = 0.0  # since when the raw level is as it is

    def feed(self, at: float, level: bool) -> Iterator[Edge]:
        """The changes that are certain by now that the raw level is `level` since `at`."""
        yield from self.settle(at)
        self._raw, self._since = level, at
        if self._first is None:
            if level == self.level:
                return
            self._first = at
        if not self._window:
            yield from self.settle(at)

    def settle(self, now: float) -> Iterator[Edge]:
        """The change that is certain by `now` if nothing has come since."""
        if self._first is None or now - self._since < self._window:
            return
        first, self._first = self._first, None
        if self._raw != self.level:
            self.level = self._raw
            yield first, self.level

    @property
    def due(self) -> float | None:
        """When to call `settle`; None while nothing is uncertain."""
        return None if self._first is None else self._since + self._window
