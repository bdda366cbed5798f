"""How a GPIO pin is named in a configuration: by its number, or by its place on the header."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_HIGHEST = 45  # of a compute module; the header has 0 to 27
_NAME = re.compile(r"(?P<kind>GPIO|BCM|BOARD)?\s*(?P<number>[0-9]{1,3})", re.IGNORECASE)
_BOARD = {
    3: 2, 5: 3, 7: 4, 8: 14, 10: 15, 11: 17, 12: 18, 13: 27, 15: 22, 16: 23, 18: 24, 19: 10,
    21: 9, 22: 25, 23: 11, 24: 8, 26: 7, 27: 0, 28: 1, 29: 5, 31: 6, 32: 12, 33: 13, 35: 19,
    36: 16, 37: 26, 38: 20, 40: 21,
}  # fmt: skip


def pin_number(written: Any) -> int:
    """The GPIO number of `17`, `GPIO17`, `BCM17` or, by place on the header, `BOARD11`. Raises
    ValueError."""
    match = _NAME.fullmatch(str(written)) if isinstance(written, int | str) else None
    if match is None or isinstance(written, bool):
        raise ValueError(f'"{written}" is no pin; expected 17, GPIO17 or BOARD11')
    number = int(match["number"])
    if (match["kind"] or "").upper() == "BOARD":
        if number not in _BOARD:
            raise ValueError(f"place {number} of the header is power, ground or not there")
        return _BOARD[number]
    if number > _HIGHEST:
        raise ValueError(f"there is no GPIO{number}; the header has GPIO0 to GPIO27")
    return number


_TEXT = {"type": "string", "pattern": "^(?i:GPIO|BCM|BOARD)?\\s*[0-9]{1,3}$"}

PinNumber = Annotated[
    int,
    BeforeValidator(pin_number),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": _HIGHEST}, _TEXT]}),
]
"""A pin's GPIO number, written `17`, `GPIO17` or `BOARD11`."""
