"""The site that is simulated: a nursery on a hill, where a day takes 24 minutes."""

import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

MINUTE = 60.0
_DAWN, _DUSK = 6.0, 20.0


class Day:
    """Time at the site, which begins at this machine's and goes 60 times as fast."""

    def __init__(self) -> None:
        now = time.localtime()
        self._begin = now.tm_hour + now.tm_min / 60
        self._started = time.monotonic()
        self._chance = random.Random(5)

    @property
    def passed(self) -> float:
        """Hours since the start."""
        return (time.monotonic() - self._started) / MINUTE

    @property
    def hour(self) -> float:
        """Of the day, 0 to 24."""
        return (self._begin + self.passed) % 24

    def sun(self) -> float:
        """How high it stands: 0 at night, 1 at noon."""
        return max(math.sin(math.pi * (self.hour - _DAWN) / (_DUSK - _DAWN)), 0.0)

    def warmth(self, lag: float = 2.0) -> float:
        """What of the sun is still there some hours later, -1 to 1."""
        return math.cos(math.pi * (self.hour - 12 - lag) / 12)

    def about(self, value: float, spread: float, digits: int = 1) -> float:
        """A value as a sensor has it: with noise, rounded."""
        return round(self._chance.gauss(value, spread), digits)


@dataclass(frozen=True, slots=True)
class Place:
    """Where simulated devices are. directory: where they may keep files; broker, coap: ports of the
    gateway; modbus: a port of theirs; day: their time."""

    directory: Path
    broker: int
    coap: int
    modbus: int
    day: Day = field(default_factory=Day)
