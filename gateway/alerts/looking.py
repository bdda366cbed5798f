"""Readings on their way to the rules: each as it comes, and after a start first those that were
journalled while nobody looked.

Rules look at readings before the commit, and what becomes of that is stored once a second. So a
kill, or readings that come before alerts are up, would cost an alert that is not said twice: a door
that opens. `seen` is a cursor over the bus, stored together with the alerts; what lies behind it is
looked at again. One that is looked at twice changes nothing, for it is the same alert.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress

from gateway.alerts.readings import ReadingRules
from gateway.alerts.store import PATIENCE
from gateway.bus.bus import Bus
from gateway.bus.live import LiveSubscription
from gateway.core.contracts import Reading
from gateway.core.events import Event

_BURSTS = 10_000  # that may wait to be looked at
_MOST = 1_000_000  # readings that are looked at again; older ones say nothing of now
_FAR, _LONG = 100_000, 600.0  # after so many readings, or so long (s), the cursor is worth a write


class Looking:
    """take: called with readings, in order. dropped: bursts that there was no room for.

    seen: the sequence before which all has been looked at; None: not known yet. stored: what the
    store has of that.
    """

    def __init__(self, rules: ReadingRules, take: Callable[[Sequence[Reading]], None]) -> None:
        self.dropped = 0
        self.seen: int | None = None
        self.stored: int | None = None
        self._rules = rules
        self._take = take
        self._bus: Bus | None = None
        self._live: LiveSubscription | None = None
        self._stored_at = time.monotonic()

    def begin(self, bus: Bus, stored: int | None) -> None:
        """Where the last run has come to; without one, it is from here on."""
        self.stored = stored
        self.seen = bus.head if stored is None else min(stored, bus.head)

    async def run(self, bus: Bus) -> None:
        """Look until cancelled, once it has begun."""
        assert self.seen is not None, "begin first"
        start = self.seen
        with bus.live(limit=_BURSTS, wants=self._rules.wants) as live:
            # What was told of before we were there is in the journal after this.
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await bus.settle()
            await self._again(bus, start, bus.head)
            self._bus, self._live = bus, live
            try:
                async with aclosing(live.items()) as items:  # type: ignore[type-var]
                    async for item in items:
                        self.dropped = live.dropped
                        if not isinstance(item, Event):
                            self._take(item)
            finally:
                self.look()
                self._live = None  # from here on nobody is told, and all seems looked at

    async def _again(self, bus: Bus, start: int, end: int) -> None:
        # What retention has taken is no gap: asking for it would have the ledgers counted again.
        start = max(start, end - _MOST, bus.journal.start)
        async for block in bus.blocks(start, follow=False):
            if block.first >= end:
                break
            self._take(block.readings[max(start - block.first, 0) :])

    def look(self) -> None:
        """Note how far that is: what is committed has been told of, and all that was told has been
        looked at."""
        if self._bus is not None and self._live is not None and not self._live.waiting:
            self.seen = self._bus.head

    @property
    def moved(self) -> bool:
        """Whether the store does not know how far that is."""
        return self.seen is not None and self.seen != self.stored

    @property
    def due(self) -> bool:
        """Whether the cursor has moved so far that a kill would make us look at much again."""
        if self.seen is None or not self.moved:
            return False
        long = time.monotonic() - self._stored_at > _LONG
        return self.stored is None or long or self.seen - self.stored > _FAR

    def noted(self, seen: int | None) -> None:
        """The store has it."""
        if seen is not None:
            self.stored, self._stored_at = seen, time.monotonic()
