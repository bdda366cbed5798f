"""Durations and sizes, as users write them."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_LONGEST = 36_500 * 86_400.0  # a hundred years: what adds to a clock in ns must fit 64 bits
_LARGEST = 10**18
_QUANTITY = re.compile(r"\s*(?P<number>-?[0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(?P<unit>[A-Za-zµ]*)\s*")


def parse_duration(value: Any) -> float:
    """`500ms`, `5s`, `1m`, `2h`, `7d` to seconds; a plain 0 needs no unit.

    Raises PydanticCustomError (type `duration`, context `message`, `unit`, `expected`).
    """
    return _quantity(value, "duration", _DURATION_UNITS)


def parse_size(value: Any) -> int:
    """`512B`, `64kB`, `10MB`, `1GB` (powers of ten) to bytes; a plain 0 needs no unit.

    Raises PydanticCustomError (type `size`, context `message`, `unit`, `expected`).
    """
    return round(_quantity(value, "size", _SIZE_UNITS))


def _duration(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds > _LONGEST:
        raise _refused("duration", "longer than 36500d", _DURATION_UNITS)
    return seconds


def _size(value: Any) -> int:
    size = parse_size(value)
    if size > _LARGEST:
        raise _refused("size", "larger than 1000000000GB", _SIZE_UNITS)
    return size


def duration_text(seconds: float) -> str:
    """Seconds as they are written: in the largest unit that gives a whole number, else ms."""
    return _text(seconds, _DURATION_UNITS, "s")


def size_text(size: float) -> str:
    """Bytes as they are written, likewise."""
    return _text(size, _SIZE_UNITS, "B")


def _text(value: float, units: Mapping[str, float], zero: str) -> str:
    if not value:
        return f"0{zero}"
    for unit, factor in sorted(units.items(), key=lambda item: -item[1]):
        number = value / factor
        # Whole numbers are exact; 0.3 s is 300 ms although a float says 299.99….
        whole = (
            value % round(factor) == 0
            if isinstance(value, int)
            else math.isclose(number, round(number), rel_tol=1e-12)
        )
        if whole and round(number):
            return f"{round(number)}{unit}"
    smallest = min(units, key=lambda unit: units[unit])
    return f"{value / units[smallest]:f}".rstrip("0").rstrip(".") + smallest


def _quantity(value: Any, what: str, units: Mapping[str, float]) -> float:
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool):
        raise _refused(what, f"not a {what}", units)
    number, unit = float(match["number"]), match["unit"]
    if number < 0:
        raise _refused(what, f"a {what} cannot be negative", units)
    if not unit and number:
        raise _refused(what, f"{what} without a unit", units)
    if unit and unit not in units:
        raise _refused(what, f'unknown {what} unit "{unit}"', units, unit)
    return number * units.get(unit, 1)


def _refused(
    what: str, message: str, units: Mapping[str, float], unit: str = ""
) -> PydanticCustomError:
    # Not a template with the unit in it: a brace in what the user wrote would be taken for a name.
    context = {"message": message, "unit": unit, "expected": ", ".join(units)}
    return PydanticCustomError(what, "{message}; expected {expected}", context)


def _written(what: str, units: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^\s*(0|[0-9]+(\.[0-9]+)?\s*({units}))\s*$"}
    return WithJsonSchema({"anyOf": [text, {"const": 0}], "x-kind": what})


Duration = Annotated[
    float, BeforeValidator(_duration), _written("duration", "|".join(_DURATION_UNITS))
]
"""Seconds, written `500ms 5s 1m 2h 7d`."""

Size = Annotated[int, BeforeValidator(_size), _written("size", "|".join(_SIZE_UNITS))]
"""Bytes, written `512B 64kB 10MB 1GB`."""
