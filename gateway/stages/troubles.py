"""What went wrong with a bridge, and how it came right again: errors by kind and minute for a day,
and outages with how long they lasted and whether anybody had to help.

An outage begins with the first attempt that fails for a reason outside of the data and ends with
the next one that gets through. It was healed unaided unless somebody paused or resumed the bridge
meanwhile. Kept in memory, bounded: 1,440 minutes and the last thousand outages; it begins anew with
the gateway.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.core.errors import BerrygateError, Rejected

_DAY, _HOUR = 1_440, 60  # minutes
_OUTAGES = 1_000


@dataclass(frozen=True, slots=True)
class Outage:
    """One that is over. began: ns since the epoch; seconds: how long; unaided: nobody helped."""

    began: int
    seconds: float
    unaided: bool


class Troubles:
    """See the module. outages, unaided: how many are over, and how many of them nobody helped with;
    down: how long all of them took (s)."""

    def __init__(
        self,
        now: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outages = 0
        self.unaided = 0
        self.down = 0.0
        self._now = now
        self._monotonic = monotonic
        self._minutes: deque[tuple[int, Counter[str]]] = deque(maxlen=_DAY)
        self._last: deque[Outage] = deque(maxlen=_OUTAGES)
        self._began: tuple[int, float] | None = None
        self._aided = False

    def failed(self, error: BerrygateError) -> None:
        """An attempt failed."""
        minute = self._minute()
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, Counter()))
        self._minutes[-1][1][kind_of(error)] += 1
        if self._began is None and not isinstance(error, Rejected):
            self._began, self._aided = (self._now(), self._monotonic()), False

    def recovered(self) -> None:
        """An attempt got through: the other side is there."""
        if self._began is None:
            return
        (began, since), self._began = self._began, None
        seconds = self._monotonic() - since
        self.outages += 1
        self.unaided += not self._aided
        self.down += seconds
        self._last.append(Outage(began, seconds, not self._aided))

    def aided(self) -> None:
        """Somebody does something about it."""
        self._aided = True

    def history(self) -> dict[str, Any]:
        """Errors by minute and kind of the last day, and its outages, with the one that goes on
        (`now`); times in epoch ms."""
        least = self._minute() - _DAY
        return {
            "minutes": [
                {"time": minute * 60_000, "errors": dict(errors)}
                for minute, errors in self._minutes
                if minute > least
            ],
            "outages": [
                _shown(outage) for outage in self._last if outage.began // 60_000_000_000 > least
            ],
            "now": self._lasting(),
        }

    def _lasting(self) -> dict[str, Any] | None:
        if self._began is None:
            return None
        began, since = self._began
        return _shown(Outage(began, self._monotonic() - since, not self._aided))

    def as_dict(self) -> dict[str, Any]:
        """For status and the API. hour, day: errors by kind. recovery: mean time to recovery (s) of
        the last thousand outages; longest: the longest of them. since: when the one that goes on
        began, epoch ms."""
        seconds = [outage.seconds for outage in self._last]
        return {
            "hour": self._within(_HOUR),
            "day": self._within(_DAY),
            "outages": self.outages,
            "unaided": self.unaided,
            "down": round(self.down, 3),
            "recovery": round(sum(seconds) / len(seconds), 3) if seconds else None,
            "longest": round(max(seconds), 3) if seconds else None,
            "since": self._began[0] // 1_000_000 if self._began else None,
        }

    def _within(self, minutes: int) -> dict[str, int]:
        least = self._minute() - minutes
        found: Counter[str] = Counter()
        for minute, errors in self._minutes:
            if minute > least:
                found += errors
        return dict(found)

    def _minute(self) -> int:
        return self._now() // 60_000_000_000


def _shown(outage: Outage) -> dict[str, Any]:
    return {
        "began": outage.began // 1_000_000,
        "seconds": round(outage.seconds, 3),
        "unaided": outage.unaided,
    }


def kind_of(error: BerrygateError) -> str:
    """An error's class in the tree, in one word: unavailable, throttled, denied, rejected,
    unknown."""
    return type(error).__name__.lower()
