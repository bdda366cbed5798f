"""ADS1115: four inputs, 16 bits, whose voltages are made into what is measured by them.

Texas Instruments SBAS444 (ADS111x). Single shots (9.4.2.1), one for each channel in turn.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.io.i2c.chips.chip import Port, wait

_CONVERSION, _CONFIG = b"\x00", b"\x01"  # 9.6
_BEGIN, _DONE, _SINGLE, _NO_COMPARATOR = 0x8000, 0x80, 0x0100, 0x0003  # of the config, 9.6.3
RANGES = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256)
"""Full scales (V), in the order of their codes."""
RATES = (8, 16, 32, 64, 128, 250, 475, 860)
"""Samples a second, likewise."""
PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3))
"""Inputs that can be measured against each other, likewise."""
_LOWEST, _HIGHEST = -0x8000, 0x7FFF
_SLOW = 1.1  # its clock may be so much slower than said (7.5)
_SLACK = 0.05  # s


@dataclass(frozen=True, slots=True)
class Channel:
    """An input. name: the metric. minus: the input it is measured against, None for ground. range:
    the full scale (V). The value is volts · scale + offset."""

    name: str
    input: int
    minus: int | None = None
    range: float = 4.096
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "V"

    @property
    def mux(self) -> int:
        """The code of its inputs."""
        return 0b100 | self.input if self.minus is None else PAIRS.index((self.input, self.minus))


class Ads1115:
    """See the module. rate: samples a second."""

    looks = True

    def __init__(self, channels: Sequence[Channel], rate: int = 128) -> None:
        self.units: Mapping[str, str] = {each.name: each.unit for each in channels if each.unit}
        self._channels = tuple(channels)
        self._rate = RATES.index(rate)
        self._time = _SLOW / rate

    def begin(self, port: Port) -> None:
        """There is nothing to set up: each measurement says how it is made."""
        self.look(port)

    def look(self, port: Port) -> None:
        """Its config."""
        port.ask(_CONFIG, 2)

    def read(self, port: Port) -> bytes:
        """One conversion of each channel, in order."""
        return b"".join(self._converted(port, channel) for channel in self._channels)

    def _converted(self, port: Port, channel: Channel) -> bytes:
        config = _BEGIN | channel.mux << 12 | RANGES.index(channel.range) << 9
        config |= _SINGLE | self._rate << 5 | _NO_COMPARATOR
        port.write(_CONFIG + config.to_bytes(2, "big"))
        time.sleep(self._time)
        wait(lambda: bool(port.ask(_CONFIG, 2)[0] & _DONE), self._time + _SLACK)
        return port.ask(_CONVERSION, 2)

    def decode(self, frame: bytes) -> dict[str, Value]:
        """What the conversions say; a channel beyond its range is left out. Raises DecodeError
        with reason length, or range where all are."""
        wanted = 2 * len(self._channels)
        if len(frame) != wanted:
            raise DecodeError(f"{len(frame)} bytes where {wanted} should be", reason="length")
        values: dict[str, Value] = {}
        for number, channel in enumerate(self._channels):
            raw = int.from_bytes(frame[2 * number : 2 * number + 2], "big", signed=True)
            # It says the same for anything beyond (table 3).
            if raw not in (_LOWEST, _HIGHEST):
                value = raw * channel.range / 32768 * channel.scale + channel.offset
                if math.isfinite(value):
                    values[channel.name] = value
        if not values:
            raise DecodeError("every channel is beyond its range", reason="range")
        return values
