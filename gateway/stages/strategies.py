"""How long to wait between two tries: strategies, one small class each; all pauses are random, for
what fails together must not return together.

exponential  a random time below a bound that doubles with each failure ("full jitter").
             M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
decorrelated a random time between the base and three times the pause before ("decorrelated
             jitter"); the same source. Longer at first, and spread further.
fixed        the base each time, give or take a tenth: for a sink that is to be asked at a known
             rate, such as one over a link that is up for minutes a day.
budgeted     as exponential while there is a budget: each try takes one token from it, each success
             puts a share of one back. Then the longest pause, so that a sink that fails often, but
             not always, is not kept down by tries. B. Beyer et al., Site Reliability Engineering
             (2016), chapters 21 and 22; Finagle's RetryBudget, with a reserve of ten tries.
"""

import random
from typing import Protocol

from gateway.core.settings import RetrySettings

RESERVE = 10.0
"""Tries that a budget has at first, and most it can save up."""

_DOUBLINGS = 32  # of a base of 1 ms that is 50 days: behind it floats only grow


class Strategy(Protocol):
    """Shared by the lanes of a bridge."""

    def pause(self, failures: int, before: float) -> float:
        """Seconds until the next try. failures: how many tries of this batch have failed in a row,
        from 1; before: the pause before this one, 0 for the first."""
        ...

    def succeeded(self) -> None:
        """A write was taken."""
        ...


class Exponential:
    """See the module."""

    def __init__(self, settings: RetrySettings) -> None:
        self._base, self._max = settings.base, settings.max

    def pause(self, failures: int, before: float) -> float:
        """A random time below a bound that doubles."""
        doublings = min(max(failures - 1, 0), _DOUBLINGS)
        return random.uniform(0, min(self._max, self._base * 2.0**doublings))

    def succeeded(self) -> None:
        """Nothing to learn."""


class Decorrelated:
    """See the module."""

    def __init__(self, settings: RetrySettings) -> None:
        self._base, self._max = settings.base, settings.max

    def pause(self, failures: int, before: float) -> float:
        """A random time between the base and three times the pause before."""
        longest = max(3 * before, self._base)
        return min(self._max, random.uniform(self._base, longest))

    def succeeded(self) -> None:
        """Nothing to learn."""


class Fixed:
    """See the module."""

    def __init__(self, settings: RetrySettings) -> None:
        self._base, self._max = settings.base, settings.max

    def pause(self, failures: int, before: float) -> float:
        """The base, give or take a tenth."""
        return min(self._max, self._base * random.uniform(0.9, 1.1))

    def succeeded(self) -> None:
        """Nothing to learn."""


class Budgeted:
    """See the module. tokens: tries that may still be made soon."""

    def __init__(self, settings: RetrySettings) -> None:
        self.tokens = RESERVE
        self._max, self._share = settings.max, settings.budget
        self._within = Exponential(settings)

    def pause(self, failures: int, before: float) -> float:
        """Exponential within the budget, else the longest pause (half of it at least)."""
        if self.tokens < 1:
            return random.uniform(self._max / 2, self._max)
        self.tokens -= 1
        return self._within.pause(failures, before)

    def succeeded(self) -> None:
        """Put a share of a token back."""
        self.tokens = min(self.tokens + self._share, RESERVE)


_KNOWN: dict[str, type[Exponential | Decorrelated | Fixed | Budgeted]] = {
    "exponential": Exponential,
    "decorrelated": Decorrelated,
    "fixed": Fixed,
    "budgeted": Budgeted,
}


def strategy(settings: RetrySettings) -> Strategy:
    """The strategy that is configured."""
    return _KNOWN[settings.strategy](settings)
