"""INA219: voltage, current and power of a supply, measured at a shunt.

Texas Instruments SBOS448 (INA219). Both voltages are measured once for each reading (mode 011,
table 6); current and power are computed by the chip from its calibration (8.5.1).
"""

import math
import time
from collections.abc import Mapping

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError, Unavailable
from gateway.io.i2c.chips.chip import Port, wait

_CONFIG, _SHUNT, _BUS, _POWER, _CURRENT, _CALIBRATION = b"\0", b"\1", b"\2", b"\3", b"\4", b"\5"
_RESET = 0x8000  # of the config, 8.6.2.1
_TRIGGERED = 0b011
_READY, _OVERFLOW = 0x02, 0x01  # of the bus voltage, 8.6.3.2
_START = 0.001  # after a reset (s)
_ONE = 0.000_586  # the longest a conversion of 12 bits takes (7.5, s)
_SLACK = 0.05  # s
SPANS = (0.04, 0.08, 0.16, 0.32)
"""Full scales of the shunt voltage (V), in the order of their codes (table 4)."""
_LARGEST = 0xFFFE  # bit 0 of the calibration is always 0 (8.6.4.1)


def calibration(lsb: float, shunt: float) -> int:
    """What goes into the chip for `lsb` amperes a step at `shunt` ohms (8.5.1, equation 1)."""
    return min(math.trunc(round(0.04096 / (lsb * shunt), 6)), _LARGEST) & _LARGEST


class Ina219:
    """See the module. shunt: Ω. max_current: A; lsb: amperes a step, the smallest that reaches
    max_current if not given. bus_range: the highest voltage, 16 or 32 V. samples: how many are
    averaged: 1, 2, 4 … 128."""

    looks = True
    units: Mapping[str, str] = {
        "voltage": "V", "current": "A", "power": "W", "shunt_voltage": "V",
    }  # fmt: skip

    def __init__(
        self,
        shunt: float = 0.1,
        max_current: float = 3.2,
        bus_range: int = 32,
        samples: int = 1,
        lsb: float | None = None,
    ) -> None:
        # Raises StopIteration for more than 320 mV, which the settings refuse.
        span = next(n for n, volts in enumerate(SPANS) if shunt * max_current <= volts * 1.000001)
        code = 0b0011 if samples == 1 else 0b1000 | samples.bit_length() - 1  # table 5
        self._config = (bus_range == 32) << 13 | span << 11 | code << 7 | code << 3 | _TRIGGERED
        self._calibration = calibration(lsb or max_current / 32768, shunt)
        # As it comes out once the calibration is a whole number.
        self._lsb = 0.04096 / (self._calibration * shunt) if self._calibration else 0.0
        self._time = 2 * _ONE * samples

    def begin(self, port: Port) -> None:
        """Reset it and give it its calibration."""
        port.write(_CONFIG + _RESET.to_bytes(2, "big"))
        time.sleep(_START)
        port.write(_CALIBRATION + self._calibration.to_bytes(2, "big"))
        self.look(port)

    def look(self, port: Port) -> None:
        """Whether it has its calibration: without, it says 0 A whatever flows."""
        found = int.from_bytes(port.ask(_CALIBRATION, 2), "big")
        if found != self._calibration:
            raise Unavailable("it has lost its calibration: its supply was away")

    def read(self, port: Port) -> bytes:
        """One measurement."""
        self.look(port)
        port.write(_CONFIG + self._config.to_bytes(2, "big"))
        time.sleep(self._time)
        wait(lambda: bool(port.ask(_BUS, 2)[1] & _READY), self._time + _SLACK)
        return b"".join(port.ask(each, 2) for each in (_SHUNT, _BUS, _CURRENT, _POWER))

    def decode(self, frame: bytes) -> dict[str, Value]:
        """What a measurement says (8.6.3). Raises DecodeError with reason length or range."""
        if len(frame) != 8:
            raise DecodeError(f"{len(frame)} bytes where 8 should be", reason="length")
        shunt, bus, current, power = (frame[at : at + 2] for at in range(0, 8, 2))
        if bus[1] & _OVERFLOW:
            raise DecodeError("more current than max_current", reason="range")
        return {
            "voltage": (int.from_bytes(bus, "big") >> 3) * 0.004,
            "current": int.from_bytes(current, "big", signed=True) * self._lsb,
            "power": int.from_bytes(power, "big") * 20 * self._lsb,
            "shunt_voltage": int.from_bytes(shunt, "big", signed=True) * 1e-5,
        }
