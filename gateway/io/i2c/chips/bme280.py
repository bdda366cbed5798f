"""BME280 and BMP280: temperature, pressure and, with the first, relative humidity.

Bosch BST-BME280-DS002 (BME280) and BST-BMP280-DS001 (BMP280); sections are those of the BME280's.
Measured in forced mode: one measurement for each reading, asleep in between (3.3.3), as recommended
for weather (3.5.1).
"""

import struct
import time
from collections.abc import Mapping

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError, Unavailable
from gateway.io.i2c.chips.chip import Port, wait

_ID, _RESET, _CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5  # 5.3
_DATA, _CALIBRATION, _CALIBRATION_HUMIDITY = 0xF7, 0x88, 0xE1
_BME280, _BMP280 = 0x60, (0x56, 0x57, 0x58)  # 5.4.1
_NAMES = {_BME280: "bme280", **dict.fromkeys(_BMP280, "bmp280")}
_RESET_WORD = 0xB6  # 5.4.2
_COPYING, _MEASURING = 0x01, 0x08  # bits of the status, 5.4.4
_FORCED = 0b01  # 5.4.5
_START = 0.002  # from reset until it answers (table 1, s)
_SLACK = 0.1  # over the longest time of a measurement (s)
_SKIPPED, _SKIPPED_HUMIDITY = 0x80000, 0x8000  # a value that was not measured (5.4.7 to 5.4.9)
# Far beyond what the chip can be used at (table 2 to 4): what is there was not measured.
_TEMPERATURES, _PRESSURES = (-60.0, 105.0), (200.0, 1_300.0)

_Trimming = tuple[int, ...]


class Bme280:
    """See the module. humid: it is a BME280. oversampling: how many times each value is measured
    and averaged: 1, 2, 4, 8 or 16."""

    looks = True

    def __init__(self, humid: bool = True, oversampling: int = 1) -> None:
        self.units: Mapping[str, str] = {"temperature": "°C", "pressure": "hPa"}
        if humid:
            self.units = {**self.units, "humidity": "%"}
        self._humid = humid
        self._code = oversampling.bit_length()  # 1: ×1 … 5: ×16 (5.4.3, 5.4.5)
        # The longest a measurement takes (9.1), ms.
        longest = 1.25 + 2.3 * oversampling + (2.3 * oversampling + 0.575)
        longest += 2.3 * oversampling + 0.575 if humid else 0.0
        self._longest = longest / 1000
        self._calibration = b""

    def begin(self, port: Port) -> None:
        """Reset it and read its trimming parameters (4.2.2)."""
        self.look(port)
        port.write(bytes((_RESET, _RESET_WORD)))
        time.sleep(_START)
        wait(lambda: not port.ask(bytes((_STATUS,)), 1)[0] & _COPYING, _SLACK)
        found = port.ask(bytes((_CALIBRATION,)), 26)
        if self._humid:
            found += port.ask(bytes((_CALIBRATION_HUMIDITY,)), 7)
        self._calibration = found
        port.write(bytes((_CONFIG, 0)))  # no filter

    def look(self, port: Port) -> None:
        """Its id."""
        found = port.ask(bytes((_ID,)), 1)[0]
        if found != _BME280 if self._humid else found not in _BMP280:
            name = _NAMES.get(found)
            if name is None:
                raise Unavailable(f"another chip answers (its id is 0x{found:02x})")
            raise Unavailable(f"the chip is a {name}", fix=f"kind: {name}")

    def read(self, port: Port) -> bytes:
        """One measurement."""
        if self._humid:  # first, for it counts only from the next write to ctrl_meas (5.4.3)
            port.write(bytes((_CTRL_HUM, self._code)))
        port.write(bytes((_CTRL_MEAS, self._code << 5 | self._code << 2 | _FORCED)))
        time.sleep(self._longest)
        wait(lambda: not port.ask(bytes((_STATUS,)), 1)[0] & _MEASURING, _SLACK)
        # In one transfer, so that all is of one measurement (4.1).
        return self._calibration + port.ask(bytes((_DATA,)), 8 if self._humid else 6)

    def decode(self, frame: bytes) -> dict[str, Value]:
        """What a measurement says (4.2.3, 8.1). Raises DecodeError with reason length, skipped or
        range."""
        wanted = 41 if self._humid else 32
        if len(frame) != wanted:
            raise DecodeError(f"{len(frame)} bytes where {wanted} should be", reason="length")
        trimming = struct.unpack_from("<HhhHhhhhhhhh", frame)
        data = frame[33:] if self._humid else frame[26:]
        pressure, temperature = _20_bits(data), _20_bits(data[3:])
        if _SKIPPED in (pressure, temperature):
            raise DecodeError("it has measured nothing", reason="skipped")
        fine = _fine(temperature, trimming)
        values: dict[str, Value] = {
            "temperature": _within(fine / 5120.0, _TEMPERATURES, "°C"),
            "pressure": _within(_pascal(pressure, fine, trimming) / 100.0, _PRESSURES, "hPa"),
        }
        if self._humid:
            humidity = int.from_bytes(data[6:8], "big")
            if humidity == _SKIPPED_HUMIDITY:
                raise DecodeError("it has measured no humidity", reason="skipped")
            values["humidity"] = round(_humidity(humidity, fine, frame), 3)
        return values


def _20_bits(data: bytes) -> int:
    return int.from_bytes(data[:3], "big") >> 4


def _within(value: float, bounds: tuple[float, float], unit: str) -> float:
    low, high = bounds
    if not low <= value <= high:
        raise DecodeError(f"{value:.1f} {unit} cannot be", reason="range")
    return round(value, 3)


def _fine(raw: int, t: _Trimming) -> float:
    """The temperature as the other formulas want it; 1/5120 °C. t[0:3]: dig_T1 to dig_T3."""
    var1 = (raw / 16384.0 - t[0] / 1024.0) * t[1]
    var2 = (raw / 131072.0 - t[0] / 8192.0) ** 2 * t[2]
    return var1 + var2


def _pascal(raw: int, fine: float, t: _Trimming) -> float:
    """The pressure. t[3:12]: dig_P1 to dig_P9."""
    p1, p2, p3, p4, p5, p6, p7, p8, p9 = t[3:12]
    var1 = fine / 2.0 - 64000.0
    var2 = var1 * var1 * p6 / 32768.0
    var2 = var2 + var1 * p5 * 2.0
    var2 = var2 / 4.0 + p4 * 65536.0
    var1 = (p3 * var1 * var1 / 524288.0 + p2 * var1) / 524288.0
    var1 = (1.0 + var1 / 32768.0) * p1
    if var1 == 0.0:  # it is divided by
        raise DecodeError("its calibration is empty", reason="range")
    p = 1048576.0 - raw
    p = (p - var2 / 4096.0) * 6250.0 / var1
    var1 = p9 * p * p / 2147483648.0
    var2 = p * p8 / 32768.0
    return p + (var1 + var2 + p7) / 16.0


def _humidity(raw: int, fine: float, frame: bytes) -> float:
    """The relative humidity, %. frame: with dig_H1 in byte 25 and dig_H2 to dig_H6 behind it
    (table 16)."""
    h1, (h2, h3) = frame[25], struct.unpack_from("<hB", frame, 26)
    e4, e5, e6, h6 = struct.unpack_from("<bBbb", frame, 29)
    h4, h5 = e4 << 4 | e5 & 0x0F, e6 << 4 | e5 >> 4
    var = fine - 76800.0
    var = (raw - (h4 * 64.0 + h5 / 16384.0 * var)) * (
        h2 / 65536.0 * (1.0 + h6 / 67108864.0 * var * (1.0 + h3 / 67108864.0 * var))
    )
    var = var * (1.0 - h1 * var / 524288.0)
    return float(min(max(var, 0.0), 100.0))
