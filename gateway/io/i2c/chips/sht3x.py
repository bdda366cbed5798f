"""SHT30, SHT31, SHT35: temperature and relative humidity.

Sensirion "Datasheet SHT3x-DIS", version 6. Single shots without clock stretching (4.3), since not
every adapter lets a chip stretch the clock.
"""

import time
from collections.abc import Mapping

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError, Unavailable
from gateway.io.i2c.chips.chip import NoAnswer, Port

_MEASURE = {  # command (table 9), and the longest it takes (table 4, s)
    "high": (b"\x24\x00", 0.0155),
    "medium": (b"\x24\x0b", 0.0065),
    "low": (b"\x24\x16", 0.0045),
}
_BREAK, _RESET, _STATUS = b"\x30\x93", b"\x30\xa2", b"\xf3\x2d"  # 4.8, 4.9, 4.11
_START = 0.002  # after a reset or a break (table 4, s)
_TRIES = 5  # it does not acknowledge while it measures (4.3)


class Sht3x:
    """See the module. repeatability: high, medium or low."""

    looks = True
    units: Mapping[str, str] = {"temperature": "°C", "humidity": "%"}

    def __init__(self, repeatability: str = "high") -> None:
        self._command, self._longest = _MEASURE[repeatability]

    def begin(self, port: Port) -> None:
        """Out of any periodic measurement, and reset."""
        port.write(_BREAK)
        time.sleep(_START)
        port.write(_RESET)
        time.sleep(_START)
        self.look(port)

    def look(self, port: Port) -> None:
        """Its status."""
        try:
            words(port.ask(_STATUS, 3))
        except DecodeError as error:
            raise Unavailable(f"its status is damaged: {error}") from error

    def read(self, port: Port) -> bytes:
        """One measurement."""
        port.write(self._command)
        tries = _TRIES
        while True:
            time.sleep(self._longest)
            try:
                return port.read(6)
            except NoAnswer:
                tries -= 1
                if not tries:
                    raise

    def decode(self, frame: bytes) -> dict[str, Value]:
        """What a measurement says (4.13). Raises DecodeError with reason length or checksum."""
        if len(frame) != 6:
            raise DecodeError(f"{len(frame)} bytes where 6 should be", reason="length")
        temperature, humidity = words(frame)
        return {
            "temperature": round(-45.0 + 175.0 * temperature / 65535.0, 3),
            "humidity": round(100.0 * humidity / 65535.0, 3),
        }


def words(data: bytes) -> list[int]:
    """Numbers of two bytes, each with its checksum. Raises DecodeError (checksum)."""
    found = []
    for at in range(0, len(data), 3):
        if crc8(data[at : at + 2]) != data[at + 2]:
            raise DecodeError(f"the checksum of {data.hex(' ')} is wrong", reason="checksum")
        found.append(int.from_bytes(data[at : at + 2], "big"))
    return found


def crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x31, beginning with 0xFF (4.12)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 & 0xFF ^ (0x31 if crc & 0x80 else 0)
    return crc
