"""How much flows, next to how much usually does."""

import math

_FAST, _SLOW = 60.0, 3600.0
_LEARN = 600.0  # nothing is said of what is usual before (s)
_LEAST = 0.2  # records a second; below, a minute holds too few to say anything
_SPREADS = 4.0


class Flow:
    """The rate of a counter: over about a minute, over about an hour (its baseline), and how far
    the one usually is from the other. Exponentially weighted means and mean deviation, as TCP keeps
    of round-trip times (Jacobson 1988; RFC 6298), so that what comes in bursts may do so."""

    __slots__ = ("_counter", "_deviation", "_fast", "_slow", "_time", "_watched")

    def __init__(self) -> None:
        self._counter: int | None = None
        self._time = self._watched = 0.0
        self._fast = self._slow = self._deviation = 0.0

    def look(self, counter: int, now: float) -> None:
        """The counter stands here now (s, monotonic)."""
        before, elapsed = self._counter, now - self._time
        self._counter, self._time = counter, now
        if before is None or counter < before or elapsed <= 0:
            return
        rate = (counter - before) / elapsed
        self._watched += elapsed
        self._fast += (rate - self._fast) * -math.expm1(-elapsed / min(_FAST, self._watched))
        part = -math.expm1(-elapsed / min(_SLOW, self._watched))
        self._slow += (rate - self._slow) * part
        self._deviation += (abs(self._fast - self._slow) - self._deviation) * part

    @property
    def share(self) -> float:
        """The rate in percent of the baseline; 100 while that is not known, where the rate is
        within its usual spread, or where too little flows."""
        if self._watched < _LEARN or self._slow < _LEAST:
            return 100.0
        if self._fast >= self._slow - _SPREADS * self._deviation:
            return 100.0
        return 100.0 * self._fast / self._slow
