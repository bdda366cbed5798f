"""A circuit breaker: stop calling an endpoint that keeps failing, then try it with one call.

Source: M. Nygard, Release It!, 2nd ed. (2018), section "Circuit Breaker".
"""

import time
from collections.abc import Callable
from enum import StrEnum

from gateway.core.errors import Throttled


class BreakerState(StrEnum):
    """closed: calls pass. open: calls fail at once. half_open: one call tries."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpen(Throttled):
    """The call was not made: the endpoint failed too often. Not an attempt, so none is counted."""


class Breaker:
    """Opens after `failures` failures in a row and lets one call try `reset` seconds later."""

    def __init__(
        self, failures: int, reset: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = BreakerState.CLOSED
        self._limit = failures
        self._reset = reset
        self._clock = clock
        self._failed = 0
        self._until = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until a call may try; 0 when one may now."""
        return 0.0 if self.state is BreakerState.CLOSED else max(self._until - self._clock(), 0.0)

    def enter(self) -> None:
        """Ask to make a call. Raises BreakerOpen while the breaker is open, and while another call
        is the one that tries."""
        if self.state is BreakerState.CLOSED:
            return
        if self.remaining:
            raise BreakerOpen("circuit breaker is open", after=self.remaining)
        # The next caller waits for this one's outcome; if it never reports, another may try.
        self.state = BreakerState.HALF_OPEN
        self._until = self._clock() + self._reset

    def succeeded(self) -> None:
        """A call went through."""
        self._failed = 0
        self.state = BreakerState.CLOSED

    def failed(self) -> None:
        """A call failed for a reason that lies with the endpoint."""
        self._failed += 1
        if self.state is BreakerState.HALF_OPEN or self._failed >= self._limit:
            self.state = BreakerState.OPEN
            self._until = self._clock() + self._reset

    def abandoned(self) -> None:
        """A call ended without telling anything about the endpoint (it was cancelled)."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self._until = self._clock()
