"""What a chip on an I2C bus is to the driver of that bus.

Reading a chip gives a frame: all the bytes that its reading is made of, with its calibration where
it has one. Frames are decoded later, so that one that is damaged can be kept and looked at.
"""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.core.contracts import Value
from gateway.core.errors import Unavailable

_AGAIN = 0.002  # the pause between two looks at whether a chip is done (s)


class NoAnswer(Unavailable):
    """Nobody acknowledges at that address at the moment (NACK)."""


class Port(Protocol):
    """The way to one chip. Everything blocks; everything raises Unavailable, and of that NoAnswer
    where nobody acknowledges."""

    def write(self, data: bytes) -> None:
        """One transfer to the chip."""
        ...

    def read(self, count: int) -> bytes:
        """One transfer from the chip."""
        ...

    def ask(self, data: bytes, count: int) -> bytes:
        """Write, and read without letting go of the bus in between."""
        ...


class Chip(Protocol):
    """A kind of chip, with its settings. looks: whether `look` asks it anything. units: by
    metric."""

    looks: bool
    units: Mapping[str, str]

    def begin(self, port: Port) -> None:
        """Set it up, also again after it was away. Raises Unavailable, also where it is another
        chip."""
        ...

    def look(self, port: Port) -> None:
        """A sign of life, which changes nothing. Raises Unavailable, also where the chip has lost
        what it was set up to."""
        ...

    def read(self, port: Port) -> bytes:
        """Measure; the frame. Raises Unavailable."""
        ...

    def decode(self, frame: bytes) -> dict[str, Value]:
        """What a frame says. Raises DecodeError, and nothing else whatever it is given."""
        ...


def wait(done: Callable[[], bool], longest: float) -> None:
    """Look again and again until a chip is done, for `longest` seconds. Raises Unavailable."""
    until = time.monotonic() + longest
    while not done():
        if time.monotonic() > until:
            raise Unavailable(f"it is not done after {longest * 1000:.0f} ms")
        time.sleep(_AGAIN)
