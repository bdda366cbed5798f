"""JSON with places for values: `{"on": {on}, "text": "by {who}"}`. No I/O.

A place is a whole value, or some of a text. Whatever comes there stays what it is: it can end no
text and add no key.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_PIECE = re.compile(rf'("(?:[^"\\]|\\.)*")(\s*:)?|{_PLACE.pattern}', re.DOTALL)
# With each of them in every place it must be JSON. With the text `1{a}` is none, nor a text where a
# backslash before `{a}` could hide its end; with the number `{{a}: 1}` is none.
_SAMPLES = ("x", 0)


def places(template: str) -> set[str]:
    """The names in a template. Raises ValueError where it cannot be used."""
    names: set[str] = set()
    for piece in _PIECE.finditer(template):
        found = {piece[3]} if piece[3] else set(_PLACE.findall(piece[1]))
        # Else it could be a key that is there already, and whose value is to stay what it is.
        if found and piece[2]:
            raise ValueError("an argument cannot be a key")
        names |= found
    for sample in _SAMPLES:
        try:
            msgspec.json.decode(fill(template, dict.fromkeys(names, sample)))
        except msgspec.DecodeError as error:
            what = f" with {json.dumps(sample)} for each argument" if names else ""
            raise ValueError(f"no JSON{what}: {error}") from None
        except RecursionError:
            raise ValueError("nested too deep") from None
    return names


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The JSON, with a value for each name: text, a number or a boolean. Raises ValueError for
    one that JSON does not have."""

    def put(piece: re.Match[str]) -> str:
        if piece[3]:
            return _json(values[piece[3]])
        text = _PLACE.sub(lambda place: _inside(values[place[1]]), piece[1])
        return text + (piece[2] or "")

    return _PIECE.sub(put, template)


def _inside(value: Any) -> str:
    """A value in a text: without quotes of its own."""
    return _json(value if isinstance(value, str) else _json(value))[1:-1]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
