"""How attempts of a bridge go: the stage around each of them."""

import math
import time
from collections.abc import Callable

from gateway.core.contracts import Batch, Send
from gateway.core.errors import BerrygateError, Rejected
from gateway.core.events import Delivered, Event, Failed
from gateway.stages.breaker import BreakerOpen

_WINDOW = 300.0  # what is older hardly counts any more (s)
_ENOUGH = 10.0  # attempts before a share of them says anything


class HealthStage:
    """Tells the bus how each attempt of a bridge went, and counts what was taken.

    failed: attempts by kind of error. seconds: how long one that succeeds takes, about the last
    ten; 0 before the first.
    """

    def __init__(self, name: str, emit: Callable[[Event], None]) -> None:
        self.failed: dict[str, int] = {}
        self.seconds = 0.0
        self._name = name
        self._emit = emit
        self._tried = self._lost = 0.0  # attempts, those that failed; what is old counts less
        self._counted = time.monotonic()
        self._lost_last = False

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send once."""
        started = time.perf_counter()
        try:
            await send(batch)
        except BreakerOpen:
            raise  # nothing was attempted
        except BerrygateError as error:
            kind = type(error).__name__.lower()
            self.failed[kind] = self.failed.get(kind, 0) + 1
            if isinstance(error, Rejected) and error.indices is not None:
                batch.tally.delivered += len(batch) - len(error.indices)
            # The other side has answered: what it refuses is a matter of the readings.
            self._count(0.0 if isinstance(error, Rejected) else 1.0)
            self._emit(Failed(kind="bridge", name=self._name, error=kind, reason=str(error)))
            raise
        batch.tally.delivered += len(batch)
        seconds = time.perf_counter() - started
        self.seconds += (seconds - self.seconds) * (0.1 if self.seconds else 1.0)
        self._count(0.0)
        self._emit(Delivered(kind="bridge", name=self._name, count=len(batch), seconds=seconds))

    def _count(self, lost: float) -> None:
        # One outage is one failure, however often it was tried meanwhile: that the other side is
        # away is told by itself, and is over when it is over.
        again, self._lost_last = bool(lost) and self._lost_last, bool(lost)
        if again:
            return
        fades = self._fades()
        self._tried, self._lost = self._tried * fades + 1.0, self._lost * fades + lost
        self._counted = time.monotonic()

    def _fades(self) -> float:
        return math.exp((self._counted - time.monotonic()) / _WINDOW)

    @property
    def failing(self) -> float:
        """Attempts that failed in the last minutes (%), where failures in a row are one; 0 where
        there were too few."""
        enough = self._tried * self._fades() >= _ENOUGH
        return 100.0 * self._lost / self._tried if enough else 0.0
