"""Simulated chips for an I2C bus, register by register as their datasheets have them; on which bus
they are is in tests.support.i2c_wires.

A chip answers only what the real one would: nothing where it has measured nothing, and not before
it is done.
"""

import struct
import time
from collections.abc import Mapping


class Nack(Exception):
    """Not acknowledged."""


class Chip:
    """What all chips have. late: how much longer a measurement takes than it should (s)."""

    late = 0.0

    def __init__(self) -> None:
        self.begun = 0  # how often it was powered on
        self.power_on()

    def power_on(self) -> None:
        """As after it was without supply."""
        self.begun += 1
        self.reset()

    def reset(self) -> None:
        """Everything to its default."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Bytes for the chip. Raises Nack."""
        raise NotImplementedError

    def read(self, count: int) -> bytes:
        """Bytes from it. Raises Nack."""
        raise NotImplementedError


class Bme280(Chip):
    """Bosch BST-BME280-DS002. adc: what it measures next: temperature, pressure, humidity.
    trimming: registers 0x88 to 0xA1, and 0xE1 to 0xE7."""

    def __init__(self, trimming: tuple[bytes, bytes], identity: int = 0x60) -> None:
        self.adc = (519_888, 415_148, 30_000)
        self.measured = 0
        self._identity = identity
        self._trimming = trimming
        super().__init__()

    def reset(self) -> None:
        self._registers = bytearray(256)
        self._registers[0xD0] = self._identity
        self._registers[0x88:0xA2], self._registers[0xE1:0xE8] = self._trimming
        self._registers[0xF7:0xFF] = bytes.fromhex("80 00 00 80 00 00 80 00")
        self._pointer, self._humid, self._ready_at = 0, 0, 0.0
        self._next: bytes | None = None

    def write(self, data: bytes) -> None:
        self._pointer = data[0]
        # Register and value again and again: addresses do not count up when written (6.2.1).
        for register, value in zip(data[::2], data[1::2], strict=False):
            if register == 0xE0:
                if value == 0xB6:
                    self.reset()
            elif register in (0xF2, 0xF4, 0xF5):
                self._registers[register] = value
                if register == 0xF4:
                    self._humid = self._registers[0xF2] & 7  # effective only now (5.4.3)
                    self._begin(value)

    def _begin(self, control: int) -> None:
        if control & 3 not in (1, 2):
            return
        temperature, pressure = control >> 5, control >> 2 & 7
        t, p, h = self.adc
        fields = (
            (p << 4 if pressure else 0x800000).to_bytes(3, "big"),
            (t << 4 if temperature else 0x800000).to_bytes(3, "big"),
            (h if self._humid else 0x8000).to_bytes(2, "big"),
        )
        self._next = b"".join(fields)
        times = [2 ** (code - 1) for code in (temperature, pressure, self._humid) if code]
        self._ready_at = (
            time.monotonic() + self.late + (1 + sum(2 * each + 0.5 for each in times)) / 1000
        )

    def read(self, count: int) -> bytes:
        if self._next is not None and time.monotonic() >= self._ready_at:
            self._registers[0xF7:0xFF] = self._next
            self._registers[0xF4] &= ~3  # asleep again (3.3.3)
            self._next = None
            self.measured += 1
        self._registers[0xF3] = 8 if self._next is not None else 0
        found = bytes(self._registers[self._pointer : self._pointer + count])
        self._pointer += count
        return found


class Sht3x(Chip):
    """Sensirion "Datasheet SHT3x-DIS". raw: the words that it measures next. damaged: how many
    answers come with a wrong bit. periodic: measuring by itself, as after 0x2130."""

    def __init__(self, raw: tuple[int, int] = (0x6666, 0x8000)) -> None:
        self.raw = raw
        self.damaged = 0
        self.periodic = False
        super().__init__()

    def power_on(self) -> None:
        self.periodic = False
        super().power_on()

    def reset(self) -> None:
        self._answer: bytes | None = None
        self._ready_at = 0.0

    def write(self, data: bytes) -> None:
        command = int.from_bytes(data[:2], "big")
        times = {0x2400: 0.0125, 0x240B: 0.0045, 0x2416: 0.0025}
        if command == 0x3093:
            self.periodic = False
        elif self.periodic:
            raise Nack
        elif command in times:
            self._answer = b"".join(map(_word, self.raw))
            self._ready_at = time.monotonic() + self.late + times[command]
        elif command == 0xF32D:
            self._answer, self._ready_at = _word(0), 0.0
        elif command == 0x30A2:
            self.reset()
        else:
            raise Nack

    def read(self, count: int) -> bytes:
        if self._answer is None or time.monotonic() < self._ready_at:
            raise Nack  # nothing was measured, or it is at it (4.3)
        found, self._answer = self._answer, None
        if self.damaged and len(found) == 6:
            self.damaged -= 1
            found = bytes((found[0] ^ 1, *found[1:]))
        return found[:count]


def _word(value: int) -> bytes:
    """Two bytes and their CRC: polynomial x^8 + x^5 + x^4 + 1, by long division."""
    data = value.to_bytes(2, "big")
    rest = (value ^ 0xFF00) << 8
    for bit in range(23, 7, -1):
        if rest >> bit & 1:
            rest ^= 0x131 << bit - 8
    return data + bytes((rest & 0xFF,))


class Words(Chip):
    """A chip with registers of two bytes, the higher first; the pointer stays."""

    defaults: Mapping[int, int] = {}

    def reset(self) -> None:
        self.words = dict(self.defaults)
        self._pointer = 0

    def write(self, data: bytes) -> None:
        self._pointer = data[0]
        if self._pointer not in self.defaults:
            raise Nack
        if len(data) == 3:
            self.written(self._pointer, int.from_bytes(data[1:], "big"))

    def written(self, register: int, value: int) -> None:
        """A register was written."""
        self.words[register] = value

    def read(self, count: int) -> bytes:
        return self.looked_at(self._pointer).to_bytes(2, "big")[:count]

    def looked_at(self, register: int) -> int:
        """A register is read."""
        return self.words[register]


class Ads1115(Words):
    """Texas Instruments SBAS444. volts: at the four inputs."""

    defaults: Mapping[int, int] = {0: 0, 1: 0x8583, 2: 0x8000, 3: 0x7FFF}
    _scales = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
    _inputs = ((0, 1), (0, 3), (1, 3), (2, 3), (0, None), (1, None), (2, None), (3, None))
    _rates = (8, 16, 32, 64, 128, 250, 475, 860)

    def __init__(self, volts: tuple[float, float, float, float]) -> None:
        self.volts = volts
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._ready_at, self._next = 0.0, 0

    def written(self, register: int, value: int) -> None:
        self.words[register] = value
        if register != 1 or not value & 0x8000 or not value & 0x0100:
            return
        high, low = self._inputs[value >> 12 & 7]
        volts = self.volts[high] - (0.0 if low is None else self.volts[low])
        steps = round(volts / self._scales[value >> 9 & 7] * 32768)
        self._next = min(max(steps, -32768), 32767) & 0xFFFF
        self._ready_at = time.monotonic() + self.late + 1 / self._rates[value >> 5 & 7]

    def looked_at(self, register: int) -> int:
        busy = time.monotonic() < self._ready_at
        if not busy and self._ready_at:
            self.words[0] = self._next
        return (
            self.words[1] & 0x7FFF | (0 if busy else 0x8000)
            if register == 1
            else (self.words[register])
        )


class Ina219(Words):
    """Texas Instruments SBOS448. amperes, volts: what flows, and at what voltage; shunt: Ω."""

    defaults: Mapping[int, int] = {0: 0x399F, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0}

    def __init__(self, shunt: float, amperes: float, volts: float) -> None:
        self.shunt, self.amperes, self.volts = shunt, amperes, volts
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._ready_at = 0.0

    def written(self, register: int, value: int) -> None:
        if register == 0 and value & 0x8000:
            self.reset()
        elif register == 0:
            self.words[0] = value
            self.words[2] &= ~2  # not ready
            code = value >> 3 & 15
            samples = 2 ** (code & 7) if code & 8 else 1
            if value & 7 == 3:
                self._ready_at = time.monotonic() + self.late + 2 * samples * 0.000_532
        elif register == 5:
            self.words[5] = value & 0xFFFE

    def looked_at(self, register: int) -> int:
        if self._ready_at and time.monotonic() >= self._ready_at:
            self._ready_at = 0.0
            self._measure()
        found = self.words[register]
        if register == 3:
            self.words[2] &= ~2
        return found

    def _measure(self) -> None:
        span = (40, 80, 160, 320)[self.words[0] >> 11 & 3] * 100
        shunt = min(max(round(self.amperes * self.shunt / 1e-5), -span), span)
        bus = round(self.volts / 0.004)
        current = shunt * self.words[5] // 4096
        power = abs(current) * bus // 5000
        over = power > 0xFFFF or abs(current) > 0x7FFF
        self.words[1], self.words[4] = shunt & 0xFFFF, current & 0xFFFF
        self.words[2], self.words[3] = bus << 3 | 2 | over, power & 0xFFFF


class Memory(Chip):
    """Any chip with registers that count up. width: bytes of a register's address."""

    def __init__(self, content: Mapping[int, bytes], width: int = 1) -> None:
        self.written: list[bytes] = []
        self._content, self._width = content, width
        super().__init__()

    def reset(self) -> None:
        self._pointer = 0
        self.cells = {
            at + n: byte for at, data in self._content.items() for n, byte in enumerate(data)
        }

    def write(self, data: bytes) -> None:
        self._pointer = int.from_bytes(data[: self._width], "big")
        if len(data) > self._width:
            self.written.append(data)
        for n, byte in enumerate(data[self._width :]):
            self.cells[self._pointer + n] = byte

    def read(self, count: int) -> bytes:
        return bytes(self.cells.get(self._pointer + n, 0xFF) for n in range(count))


def trimming(temperature: tuple[int, ...], humidity: tuple[int, ...]) -> tuple[bytes, bytes]:
    """The trimming registers of a BME280 (table 16). temperature: dig_T1 to dig_P9; humidity:
    dig_H1 to dig_H6."""
    h1, h2, h3, h4, h5, h6 = humidity
    first = struct.pack("<HhhHhhhhhhhhxB", *temperature, h1)
    split = (h4 >> 4 & 0xFF, h4 & 15 | (h5 & 15) << 4, h5 >> 4 & 0xFF, h6 & 0xFF)
    return first, struct.pack("<hB4B", h2, h3, *split)


EXAMPLE = (27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
"""dig_T1 to dig_P9 of the example in BST-BMP280-DS001, 3.12; 519888 is 25.08 °C and, with that,
415148 is 100653.27 Pa."""
HUMID = (75, 362, 0, 313, 50, 30)
"""dig_H1 to dig_H6 as chips have them."""
