"""What the files of thermometers on 1-Wire say.

Maxim "DS18B20 Programmable Resolution 1-Wire Digital Thermometer" (19-7487, rev 6): temperature
register (figure 4, table 1), scratchpad (figure 9), configuration (figure 10, table 2), power-on
value (Operation - Measuring Temperature). Files as in Documentation/w1/slaves/w1_therm.
"""

import re
from collections.abc import Iterable, Mapping

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

_W1_SLAVE = re.compile(
    rb"\s*(?P<scratchpad>([0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (?P<verdict>YES|NO)\s+"
    rb"([0-9a-f]{2} ){9}t=(?P<milli>-?[0-9]{1,9})\s*"
)
_MILLI = re.compile(rb"\s*(-?[0-9]{1,9})\s*")
_SIXTEENTHS = ("22", "28", "42")  # kinds whose register counts in 1/16 °C
_RANGES = {"3b": (-270.0, 1_800.0)}  # a MAX31850 has a thermocouple
_RANGE = (-55.0, 125.0)
_POWER_ON, _TOO_LITTLE = 85.0, 127.9375  # °C, that were not measured
_UNMEASURED = 0x0C  # byte 6 of the scratchpad, with either of them
_UNITS = {"temperature": "°C"}


class OneWireCodecSettings(CodecSettings):
    """How files of sensors are decoded; made by the driver, not written by anybody."""

    type: str = "onewire"
    """Which codec."""

    def build(self) -> "OneWireCodec":
        """The codec."""
        return OneWireCodec()


class OneWireCodec:
    """See the module. A frame's topic is SENSOR/FILE."""

    def decode(
        self, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[int | None, dict[str, Value]]]:
        """Of a DS18B20. Raises DecodeError."""
        return [(None, decoded("28", "w1_slave", payload))]

    def addressed(
        self, topic: str, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[str, int | None, dict[str, Value]]]:
        """See gateway.core.contracts.Addressed. Raises DecodeError."""
        sensor, _, file = topic.partition("/")
        return [("", None, decoded(sensor.partition("-")[0], file, payload))]

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        return _UNITS


def decoded(family: str, file: str, data: bytes) -> dict[str, Value]:
    """What a sensor says. Raises DecodeError with reason malformed, checksum, power_on or range."""
    celsius = _by_itself(data) if file == "temperature" else _of_scratchpad(family, data)
    low, high = _RANGES.get(family, _RANGE)
    if not low <= celsius <= high:
        raise DecodeError(f"{celsius:.1f} °C cannot be", reason="range")
    return {"temperature": celsius}


def _by_itself(data: bytes) -> float:
    match = _MILLI.fullmatch(data)
    if match is None:
        raise DecodeError("not a temperature in thousandths of a degree")
    celsius = int(match[1]) / 1000
    if celsius in (_POWER_ON, 127.937):
        raise _unmeasured(celsius)
    return celsius


def _of_scratchpad(family: str, data: bytes) -> float:
    match = _W1_SLAVE.fullmatch(data)
    if match is None:
        raise DecodeError("not the two lines of a w1_slave file")
    scratchpad = bytes.fromhex(match["scratchpad"].decode())
    if match["verdict"] != b"YES" or crc8(scratchpad[:8]) != scratchpad[8]:
        raise DecodeError("the checksum is wrong", reason="checksum", fix=_NOISE)
    if not any(scratchpad):  # their checksum is right
        fix = "check the data line for a short to ground"
        raise DecodeError("all bytes are 0", reason="checksum", fix=fix)
    celsius = int(match["milli"]) / 1000
    if family in _SIXTEENTHS and not scratchpad[4] & 0x80:  # with that bit it is a clone's own way
        celsius = sixteenths(scratchpad)
    if scratchpad[6] == _UNMEASURED and celsius in (_POWER_ON, _TOO_LITTLE):
        raise _unmeasured(celsius)
    return celsius


_NOISE = "shorten the wires, or use a smaller pull-up resistor"


def sixteenths(scratchpad: bytes) -> float:
    """The temperature, without the bits that mean nothing at the sensor's resolution (figure 4)."""
    unused = 3 - (scratchpad[4] >> 5 & 3)
    raw = int.from_bytes(scratchpad[:2], "little", signed=True)
    return (raw >> unused << unused) / 16


def _unmeasured(celsius: float) -> DecodeError:
    what = "after it was switched on" if celsius == _POWER_ON else "with too little supply"
    message = f"{celsius:.2f} °C is what it says {what}: it has not measured"
    fix = "connect its supply with a third wire instead of taking it from the data line"
    return DecodeError(message, reason="power_on", fix=fix)


def crc8(data: bytes) -> int:
    """CRC-8 of Maxim, X^8 + X^5 + X^4 + 1, lowest bit first (figure 11)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc
