"""Readings of one device at the header: each with the state of all of it, at the time of what
changed."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gateway.core.contracts import Burst, Reading, Value, boottime

_BACKLOG = 10_000  # readings that may wait while the disk refuses
_OLDEST = 60.0  # a change that is said to be older has its time of another clock (s)
_RECENT = 200  # times that no other reading may have
_MILLISECOND = 1_000_000


class Reports:
    """See the module. factory: gpiozero's, for its clock; set before anything is told.

    arrived: set when there is something to take. told: when something was told last (s,
    loop.time()). overflow: readings that were thrown away because too many waited.
    """

    def __init__(self, name: str) -> None:
        self.factory: Any = None
        self.arrived = asyncio.Event()
        self.told = 0.0
        self.overflow = 0
        self._name = name
        self._state: dict[str, Value] = {}
        self._waiting: deque[Reading] = deque()
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._last = 0
        self._newest, self._changed = 0, set[str]()  # of the last that waits: its ms, what is new
        self._quiet = False

    def tell(
        self,
        at: float | None,
        values: Mapping[str, Value | None],
        events: Mapping[str, Value] | None = None,
    ) -> None:
        """See gateway.io.gpio.part.Tell."""
        for metric, value in values.items():
            if value is None:
                self._state.pop(metric, None)
            else:
                self._state[metric] = value
        if self._quiet:
            return
        self.told = asyncio.get_running_loop().time()
        now = time.time_ns()
        when = now if at is None else self._when(at, now)
        last, self._last = self._last, when
        self._put(when, events or {}, {*values, *(events or ())})
        if 0 < last - when < _OLDEST * 1e9:
            # It was certain only after something later had been told, which stays the last then.
            self._last = now
            self._put(now, {}, set())

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What is told meanwhile is told at once, at the end."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False
        self.tell(None, {})

    def _put(self, when: int, events: Mapping[str, Value], changed: set[str]) -> None:
        values = {**self._state, **events}
        millisecond = when // _MILLISECOND
        if self._waiting and self._newest == millisecond and not changed & self._changed:
            values = {**self._waiting[-1].values, **values}
            self._waiting[-1] = Reading(self._name, self._waiting[-1].time, values)
            self._changed |= changed
            return
        if len(self._waiting) >= _BACKLOG or not values:
            self.overflow += bool(values)
            return
        while millisecond in self._recent:  # sinks take two readings of one ms for one
            millisecond += 1
            when = millisecond * _MILLISECOND
        self._recent.append(millisecond)
        self._newest, self._changed = millisecond, changed
        self._waiting.append(Reading(self._name, when, values))
        self.arrived.set()

    def _when(self, at: float, now: int) -> int:
        ago = self.factory.ticks_diff(self.factory.ticks(), at)
        return now - round(ago * 1e9) if 0 <= ago < _OLDEST else now

    def take(self) -> Burst | None:
        """What has been told since; None: nothing."""
        if not self._waiting:
            return None
        readings = list(self._waiting)
        self._waiting.clear()
        return Burst(time.time_ns(), readings=readings, boottime=boottime())

    def forget(self) -> None:
        """What nobody will take any more."""
        self._waiting.clear()
        self._state.clear()
