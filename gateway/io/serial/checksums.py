"""Checksums of frames on serial lines: what a sender adds so that damage is seen. No I/O.

Sources: Modbus over serial line V1.02, 6.2.2 (CRC-16/MODBUS); ITU-T V.41 (the polynomial of
CRC-16/CCITT); G. Cook's catalogue of parametrised CRC algorithms for names and check values.
"""

import sys
from array import array
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from operator import xor
from typing import Literal

Order = Literal["big", "little"]


@dataclass(frozen=True, slots=True)
class Checksum:
    """The last `width` bytes of a frame, in `order`, are `function` of the bytes before them,
    without the first `skip`."""

    function: Callable[[bytes], int]
    width: int
    order: Order
    skip: int = 0

    def fits(self, frame: bytes) -> bool:
        """Whether a frame is as it was sent, as far as this can tell."""
        end = len(frame) - self.width
        if end < self.skip:
            return False
        return self.function(frame[self.skip : end]) == int.from_bytes(frame[end:], self.order)


@cache
def _modbus_table() -> "array[int]":
    """What two bytes make of a CRC that they were put into: a byte at a time costs four times as
    much, and after rubbish it is tried at every byte."""
    single = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        single.append(value)
    halfway = [value >> 8 ^ single[value & 0xFF] for value in range(0x10000)]
    return array("H", [value >> 8 ^ single[value & 0xFF] for value in halfway])


def crc16_modbus(data: bytes) -> int:
    """CRC-16/MODBUS."""
    table, crc, even = _modbus_table(), 0xFFFF, len(data) & ~1
    words = array("H", data[:even])
    if sys.byteorder == "big":
        words.byteswap()
    for word in words:
        crc = table[crc ^ word]
    if even < len(data):
        value = crc ^ data[even]
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        crc = value
    return crc


def _xor(data: bytes) -> int:
    return reduce(xor, data, 0)


KINDS: dict[str, tuple[Callable[[bytes], int], int, Order]] = {
    "xor": (_xor, 1, "big"),
    "sum8": (lambda data: sum(data) & 0xFF, 1, "big"),
    "sum8-inverted": (lambda data: 0xFF - (sum(data) & 0xFF), 1, "big"),
    "sum16": (lambda data: sum(data) & 0xFFFF, 2, "big"),
    "crc16-modbus": (crc16_modbus, 2, "little"),
    "crc16-ccitt": (lambda data: crc_hqx(data, 0xFFFF), 2, "big"),
    "crc16-xmodem": (lambda data: crc_hqx(data, 0), 2, "big"),
}
"""(function, bytes, the usual order of these) by name. crc16-ccitt begins with 0xFFFF."""
