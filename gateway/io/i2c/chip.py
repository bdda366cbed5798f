"""A chip on an I2C bus: set up when that is due, and tried a few times before it is given up."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from gateway.core.errors import DecodeError, Unavailable
from gateway.io.i2c.bus import Bus
from gateway.io.i2c.chips.chip import Chip, Port
from gateway.io.i2c.chips.settings import ChipSettings, hexed
from gateway.io.i2c.faults import BusLost

T = TypeVar("T")

_TRIES, _AGAIN = 3, 0.05  # how often it is tried at once, and the pause in between (s)


class OnBus:
    """See the module. interval: how often it is read, if it has its own (s). ready: it is set up.
    `read` and `look` block."""

    def __init__(self, settings: ChipSettings, bus: Bus) -> None:
        self.chip: Chip = settings.build()
        self.interval = settings.interval
        self.ready = False
        self._kind = settings.kind
        self._address = settings.place
        self._bus = bus
        self._port: Port = bus.port(settings.place)

    @property
    def about(self) -> dict[str, Any]:
        """Which chip, and where."""
        model = {} if self._kind == "registers" else {"model": self._kind.upper()}
        return {"address": hexed(self._address)} | model

    def label(self, name: str) -> str:
        """For people."""
        kind = "" if self._kind == name else f"{self._kind} "
        return f"{name} ({kind}at {hexed(self._address)})"

    def fault(self, frame: bytes) -> DecodeError | None:
        """Why a frame is no reading."""
        try:
            self.chip.decode(frame)
        except DecodeError as error:
            return error
        return None

    def read(self) -> bytes:
        """A frame; set up first, where that is due. One that is damaged is given only when there is
        no better. Raises Unavailable."""
        tries = _TRIES
        while True:
            tries -= 1
            frame = self._tried(partial(self.chip.read, self._port), tries)
            if frame is not None and (not tries or self.fault(frame) is None):
                return frame
            time.sleep(_AGAIN)

    def look(self) -> None:
        """A sign of life. Raises Unavailable."""
        tries = _TRIES
        while True:
            tries -= 1
            if self._tried(self._alive, tries):
                return
            time.sleep(_AGAIN)

    def _alive(self) -> bool:
        self.chip.look(self._port)
        return True

    def _tried(self, action: Callable[[], T], left: int) -> T | None:
        """Once; None where it may be tried again."""
        try:
            if not self.ready:
                self._begin()
            return action()
        except BusLost:
            raise
        except Unavailable:
            self.ready = False
            if not left:
                raise
            return None

    def _begin(self) -> None:
        if driver := self._bus.holder(self._address):
            message = f"the kernel's driver {driver} has the chip"
            fix = "take its dtoverlay out of /boot/firmware/config.txt and restart the machine"
            raise Unavailable(message, fix=fix)
        self.chip.begin(self._port)
        self.ready = True
