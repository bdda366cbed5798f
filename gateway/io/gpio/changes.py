"""From the pins of one device to what they belong to, in the order in which they changed."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gateway.io.gpio.edges import EdgePin
from gateway.io.gpio.part import Part

_GATHER = 0.02  # how long pulses may gather before somebody looks (s)
_SHORTEST = 0.001


class Changes:
    """See the module. owners: what each pin belongs to; filled before anything is opened. factory:
    gpiozero's, for its clock; set likewise."""

    def __init__(self) -> None:
        self.owners: dict[EdgePin, Part] = {}
        self.factory: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: dict[Callable[[], None], bool] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; on the loop that is to be woken."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """End; what comes from now on is of no concern."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        """Have the loop look; from gpiozero's thread, for each change. The loop is called once for
        all that come until it has looked."""
        self._call(self.look)

    def wake_soon(self) -> None:
        """The same for what is only counted, which may gather for a moment."""
        self._call(self._look_soon)

    def _call(self, function: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or self._woken.get(function):
            return
        self._woken[function] = True
        with suppress(RuntimeError):  # the loop has ended, and the program is about to
            loop.call_soon_threadsafe(function)

    def _look_soon(self) -> None:
        asyncio.get_running_loop().call_later(_GATHER, self.look)

    def look(self) -> None:
        """Take what has come, and what has become certain meanwhile."""
        self._woken.clear()
        if self._loop is None or self.factory is None:
            return
        # Before anything is taken: what comes meanwhile must not be older than "now".
        now = self.factory.ticks()
        found = [(at, pin, level) for pin in self.owners for at, level in pin.take()]
        found.sort(key=lambda change: change[0])
        for at, pin, level in found:
            self.owners[pin].feed(pin, at, level)
        parts = set(self.owners.values())
        for part in parts:
            part.settle(now)
        self._again(min((part.due for part in parts if part.due is not None), default=None))

    def _again(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and self._loop is not None:
            left: float = self.factory.ticks_diff(due, self.factory.ticks())
            self._timer = self._loop.call_later(max(left, _SHORTEST), self.look)

    @property
    def dropped(self) -> int:
        """Changes that were thrown away."""
        return sum(pin.dropped for pin in self.owners)

    @property
    def seen(self) -> int:
        """Changes that came."""
        return sum(pin.seen for pin in self.owners)

    @property
    def stormy(self) -> Mapping[int, int]:
        """Pins that are left alone at the moment, and how often they had changed in a second."""
        return {pin.number: pin.stormy for pin in self.owners if pin.stormy}
