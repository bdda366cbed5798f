"""What one stage did over the last minute, quarter of an hour and hour: a ring of short stretches,
and a ring of minutes that are made of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.stages.profiling.sketch import Sketch, Stretch, merged

SHORT = 5.0
"""How long a short stretch is (s)."""
MINUTE = 60.0
WINDOWS: Mapping[str, float] = {"1m": MINUTE, "15m": 15 * MINUTE, "1h": 60 * MINUTE}
"""What can be asked for (s)."""
_SHORTS = round(MINUTE / SHORT)
_MINUTES = 60


@dataclass(frozen=True, slots=True)
class Figures:
    """What a stage did in a window. rate: records/s; share of the time it was busy, which is
    above 1 where several are at work: load. Durations in s."""

    rate: float
    load: float
    count: int
    p50: float
    p95: float
    p99: float
    p999: float
    longest: float
    total: float


class Windows:
    """See the module. busy: seconds spent, and records: what went through, both since the start.
    `add` may be called from any thread."""

    __slots__ = (
        "_began", "_clock", "_lock", "_minutes", "_now", "_records", "_shorts", "_until",
        "_whole", "busy", "records",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.busy = 0.0
        self.records = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._now = Sketch()
        self._records = 0
        self._shorts: deque[Stretch] = deque(maxlen=_SHORTS)
        self._minutes: deque[Stretch] = deque(maxlen=_MINUTES)
        self._whole = 0  # short stretches that are in no minute yet
        self._began = clock()
        self._until = self._began + SHORT

    def add(self, seconds: float, records: int) -> None:
        """`records` went through in `seconds`, which end now."""
        now = self._clock()
        with self._lock:
            if now >= self._until:
                self._turn(now)
            self.busy += seconds
            self.records += records
            self._records += records
            self._now.add(seconds)

    def _turn(self, now: float) -> None:
        """End the stretches whose time is over; what was quiet for long is gone over quickly."""
        over = min(int((now - self._began) / SHORT), _MINUTES * _SHORTS)
        for number in range(over):
            first = number == 0
            self._end(self._now if first else Sketch(), self._records if first else 0)
        self._now, self._records = Sketch(), 0
        self._began += int((now - self._began) / SHORT) * SHORT
        self._until = self._began + SHORT

    def _end(self, sketch: Sketch, records: int) -> None:
        self._shorts.append(Stretch(sketch, SHORT, records))
        self._whole += 1
        if self._whole == _SHORTS:
            whole, seconds, count = merged(self._shorts)
            self._minutes.append(Stretch(whole, seconds, count))
            self._whole = 0

    def last(self, window: float = MINUTE) -> Figures | None:
        """The figures of the last `window` seconds, as far as there are any; None where nothing
        went through."""
        now = self._clock()
        with self._lock:
            if now >= self._until:
                self._turn(now)
            current = Stretch(self._now, now - self._began, self._records)
            if window <= MINUTE:
                past = list(self._shorts)
            else:
                whole = self._whole
                past = [*self._minutes, *(list(self._shorts)[-whole:] if whole else ())]
                past = past[-max(round(window / MINUTE) - 1, 1) - whole :]
        return _figures([*past, current])

    def recent(self) -> list[Stretch]:
        """The short stretches of the last minute that are over, the oldest first."""
        now = self._clock()
        with self._lock:
            if now >= self._until:
                self._turn(now)
            return list(self._shorts)


def _figures(stretches: list[Stretch]) -> Figures | None:
    sketch, seconds, records = merged(stretches)
    if not sketch.count:
        return None
    span = max(seconds, 1.0)  # over less a rate says nothing
    p50, p95, p99, p999 = sketch.quantiles(0.5, 0.95, 0.99, 0.999)
    return Figures(
        rate=records / span,
        load=sketch.total / span,
        count=sketch.count,
        p50=p50,
        p95=p95,
        p99=p99,
        p999=p999,
        longest=sketch.longest,
        total=sketch.total,
    )
