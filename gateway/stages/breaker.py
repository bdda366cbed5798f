"""A circuit breaker: stop calling an endpoint that keeps failing, then try it with one call.

Source: M. Nygard, Release It!, 2nd ed. (2018), section "Circuit Breaker"; that a share of failures
opens it too, and only above a least number of calls, is as in Netflix's Hystrix.
"""

import time
from collections.abc import Callable
from enum import StrEnum

from gateway.core.errors import Throttled

LEAST = 10
"""Calls within the window below which no share of failures says anything."""


class BreakerState(StrEnum):
    """closed: calls pass. open: calls fail at once. half_open: one call tries."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpen(Throttled):
    """The call was not made: the endpoint failed too often. Not an attempt, so none is counted."""


class Breaker:
    """Opens after `failures` failures in a row, or once a share `rate` of the calls within
    `window` seconds failed (1: never by share); lets one call try `reset` seconds later."""

    def __init__(
        self,
        failures: int,
        reset: float,
        clock: Callable[[], float] = time.monotonic,
        rate: float = 1.0,
        window: float = 60.0,
    ) -> None:
        self.state = BreakerState.CLOSED
        self.failed_in_row = 0
        self._limit = failures
        self._reset = reset
        self._clock = clock
        self._until = 0.0
        self._rate = rate
        self._recent = Recent(window, clock())

    @property
    def remaining(self) -> float:
        """Seconds until a call may try; 0 when one may now."""
        return 0.0 if self.state is BreakerState.CLOSED else max(self._until - self._clock(), 0.0)

    @property
    def rate(self) -> float:
        """Share of the calls within the window that failed."""
        return self._recent.rate(self._clock())

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
        self._recent.went_well += 1
        self.failed_in_row = 0
        if self.state is not BreakerState.CLOSED:
            # What failed before it opened would open it again with the next failure.
            self._recent.clear()
            self.state = BreakerState.CLOSED

    def failed(self) -> None:
        """A call failed for a reason that lies with the endpoint."""
        self.failed_in_row += 1
        self._recent.failed(self._clock())
        if (
            self.state is BreakerState.HALF_OPEN
            or self.failed_in_row >= self._limit
            or self._too_many()
        ):
            self.trip()

    def _too_many(self) -> bool:
        now = self._clock()
        enough = self._rate < 1 and self._recent.calls(now) >= LEAST
        return enough and self._recent.rate(now) >= self._rate

    def trip(self) -> None:
        """Open, whatever the counts say."""
        self.state = BreakerState.OPEN
        self._until = self._clock() + self._reset

    def hurry(self) -> None:
        """Let one call try now: somebody says that it may work."""
        if self.state is BreakerState.OPEN:
            self._until = self._clock()

    def abandoned(self) -> None:
        """A call ended without telling anything about the endpoint (it was cancelled)."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self._until = self._clock()


class Recent:
    """How many calls went well and failed within the last `window` seconds, about: the counts of
    this window, and of the one before as far as it still reaches in (the sliding window counter of
    rate limiters). A success costs an addition; the clock is looked at by failures alone.

    went_well: in this window.
    """

    def __init__(self, window: float, now: float) -> None:
        self.went_well = 0
        self._window = window
        self._failed = 0
        self._before = (0, 0)  # went well, failed
        self._since = now

    def failed(self, now: float) -> None:
        """A call failed."""
        self._move(now)
        self._failed += 1

    def calls(self, now: float) -> float:
        """How many there were."""
        return sum(self._counts(now))

    def rate(self, now: float) -> float:
        """The share of them that failed."""
        well, failed = self._counts(now)
        return failed / (well + failed) if failed else 0.0

    def clear(self) -> None:
        """Forget all."""
        self.went_well = self._failed = 0
        self._before = (0, 0)

    def _counts(self, now: float) -> tuple[float, float]:
        self._move(now)
        left = 1 - (now - self._since) / self._window
        well, failed = self._before
        return self.went_well + well * left, self._failed + failed * left

    def _move(self, now: float) -> None:
        passed = now - self._since
        if passed < self._window:
            return
        near = passed < 2 * self._window
        self._before = (self.went_well, self._failed) if near else (0, 0)
        self.went_well = self._failed = 0
        self._since = self._since + self._window if near else now
