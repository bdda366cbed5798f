"""What is in registers: numbers, text and bits, and the other way round. No I/O.

A register has 16 bits. Which of several comes first, and which byte in each, differs from maker to
maker: the standard has the high ones first.
"""

import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

Kind = Literal[
    "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
    "string", "bits",
]  # fmt: skip
Order = Literal["big", "little"]

CODES = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d",
}  # fmt: skip
FLOATS = ("float32", "float64")
_LONGEST_EXPONENT = 10  # of a power of ten that a device tells


def size(kind: str, length: int = 0) -> int:
    """How many registers (or coils) a value takes; `length`: of text (registers)."""
    if kind == "string":
        return length
    return struct.calcsize(CODES[kind]) // 2 if kind in CODES else 1


def to_bytes(registers: Sequence[int], byte_order: Order, word_order: Order) -> bytes:
    """Registers as bytes, the high ones first."""
    words = registers if word_order == "big" else registers[::-1]
    return b"".join(word.to_bytes(2, byte_order) for word in words)


def to_registers(data: bytes, byte_order: Order, word_order: Order) -> list[int]:
    """The other way round."""
    words = [int.from_bytes(data[n : n + 2], byte_order) for n in range(0, len(data), 2)]
    return words if word_order == "big" else words[::-1]


def number(kind: str, data: bytes) -> float | int | None:
    """The number in `data`; None for a float that is none."""
    (found,) = struct.unpack(f">{CODES[kind]}", data)
    if kind not in FLOATS:
        return int(found)
    if not math.isfinite(found):
        return None
    return shortest(found) if kind == "float32" else float(found)


def shortest(value: float) -> float:
    """A 32-bit float as it was meant: 230.1, not 230.10000610351562."""
    for digits in range(6, 9):
        near = float(f"{value:.{digits}g}")
        try:
            if struct.pack(">f", near) == struct.pack(">f", value):
                return near
        except OverflowError:  # rounded up past the largest there is
            continue
    return float(value)


def power(register: int) -> float | None:
    """10 to what a register tells (SunSpec's scale factor); None where it tells nothing."""
    exponent = register - 0x10000 if register & 0x8000 else register
    return 10.0**exponent if abs(exponent) <= _LONGEST_EXPONENT else None


def decimals(value: float) -> int:
    """How many digits behind the point a number is written with."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def text(registers: Sequence[int], byte_order: Order) -> str:
    """Text, as far as the first NUL, without blanks around it."""
    data = to_bytes(registers, byte_order, "big")
    return data.partition(b"\0")[0].decode("utf-8", "replace").strip()


def from_text(value: str, length: int, byte_order: Order) -> list[int]:
    """Text in so many registers, with NULs behind it. Raises ValueError."""
    data = value.encode()
    if len(data) > 2 * length:
        raise ValueError(f"longer than {2 * length} bytes")
    return to_registers(data.ljust(2 * length, b"\0"), byte_order, "big")


def from_number(kind: str, value: float, byte_order: Order, word_order: Order) -> list[int]:
    """A number in registers. Raises ValueError where it does not fit."""
    wanted = float(value) if kind in FLOATS else round(value)
    try:
        data = struct.pack(f">{CODES[kind]}", wanted)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"no {kind} can hold it") from error
    return to_registers(data, byte_order, word_order)
