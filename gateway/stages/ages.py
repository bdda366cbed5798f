"""When a connection is too old, has idled too long, or must be looked at before it is used."""

import math
import random
import time

from gateway.core.contracts import ConnT
from gateway.core.settings import PoolSettings
from gateway.stages.endpoints import Lent

_JITTER = 0.2  # limits are up to so much shorter, so that connections opened together do not go so


class Ages:
    """The limits of one pool. Times are monotonic (s)."""

    def __init__(self, settings: PoolSettings) -> None:
        self._idle = settings.idle
        self._max_age = settings.max_age or math.inf
        self._check = settings.check or math.inf

    def begin(self, lent: Lent[ConnT]) -> None:
        """A connection was opened."""
        now = time.monotonic()
        lent.since = lent.looked = now
        lent.expires = now + self._max_age * random.uniform(1 - _JITTER, 1)
        lent.patience = self._idle * random.uniform(1 - _JITTER, 1)

    def looked(self, lent: Lent[ConnT], doubted: float, checkable: bool) -> bool:
        """Whether a connection may be lent without a look at it. Not one that came back before
        its endpoint last failed: what broke one connection has mostly broken all. One that only
        idled for long is looked at where it can be."""
        if lent.looked <= doubted:
            return False
        return not checkable or time.monotonic() - lent.looked < self._check

    def due(self, lent: Lent[ConnT], now: float) -> bool:
        """Whether upkeep should look at an idle connection."""
        return now - lent.looked >= self._check
