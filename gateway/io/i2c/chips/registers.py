"""Any chip whose values lie in registers: a map of them says where and how.

A register is read by writing its address and reading what comes (NXP UM10204, "I2C-bus
specification and user manual", 3.1.10: combined formats).
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.io.i2c.chips.chip import Port

SIZES = {
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int24": 3, "uint24": 3, "int32": 4,
    "uint32": 4, "int64": 8, "uint64": 8, "float32": 4, "float64": 8,
}  # fmt: skip
"""Bytes by type."""
_FLOATS = {"float32": "f", "float64": "d"}
_ORDERS: Mapping[str, str] = {"big": ">", "little": "<"}


@dataclass(frozen=True, slots=True)
class Register:
    """A value. name: the metric. register: its address in the chip. bits: how many of its lowest
    bits count, None for all. The value is number · scale + offset."""

    name: str
    register: int
    type: str = "uint8"
    byte_order: Literal["big", "little"] = "big"
    bits: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return SIZES[self.type]

    def value(self, data: bytes) -> float:
        """What its bytes say."""
        if self.type in _FLOATS:
            (found,) = struct.unpack(_ORDERS[self.byte_order] + _FLOATS[self.type], data)
        else:
            signed = self.type.startswith("int")
            found = int.from_bytes(data, self.byte_order, signed=signed)
            if self.bits is not None:
                found = _lowest(found, self.bits, signed)
        return float(found * self.scale + self.offset)


def _lowest(number: int, bits: int, signed: bool) -> int:
    """The lowest bits of a number, the highest of which is its sign."""
    found = number & (1 << bits) - 1
    return found - (1 << bits) if signed and found >> bits - 1 else found


class Registers:
    """See the module. setup: what is written at the beginning, and again after the chip was away.
    width: bytes of a register's address."""

    looks = False  # to read a register may change it

    def __init__(
        self, registers: Sequence[Register], setup: Sequence[bytes] = (), width: int = 1
    ) -> None:
        self.units: Mapping[str, str] = {each.name: each.unit for each in registers if each.unit}
        self._registers = tuple(registers)
        self._setup = tuple(setup)
        self._width = width
        self._size = sum(each.size for each in registers)

    def begin(self, port: Port) -> None:
        """Write the setup."""
        for data in self._setup:
            port.write(data)

    def look(self, port: Port) -> None:
        """Nothing: see `looks`."""

    def read(self, port: Port) -> bytes:
        """Every register of the map, in order."""
        return b"".join(
            port.ask(each.register.to_bytes(self._width, "big"), each.size)
            for each in self._registers
        )

    def decode(self, frame: bytes) -> dict[str, Value]:
        """What the registers say; what is no number (NaN) is left out. Raises DecodeError with
        reason length, or empty where nothing is left."""
        if len(frame) != self._size:
            raise DecodeError(f"{len(frame)} bytes where {self._size} should be", reason="length")
        values: dict[str, Value] = {}
        at = 0
        for each in self._registers:
            value = each.value(frame[at : at + each.size])
            at += each.size
            if math.isfinite(value):
                values[each.name] = value
        if not values:
            raise DecodeError("no number in it", reason="empty")
        return values
