"""Bytes to send with values put in: `SP {value}\\r\\n`. No I/O."""

import re
from collections.abc import Mapping
from typing import Any

from gateway.io.wire import escaped_bytes, wire_bytes

_PLACE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]{0,63})\}|[{}]")
_LONGEST = 256  # characters of a value


def names_in(template: str) -> set[str]:
    """The names in a template. Raises ValueError where it cannot be used."""
    if template.startswith("hex:"):
        wire_bytes(template)
        return set()
    names, place = set(), 0
    for match in _PLACE.finditer(template):
        escaped_bytes(template[place : match.start()])
        place = match.end()
        if match[0] in ("{", "}"):
            raise ValueError("a brace stands alone; {name} is an argument, {{ and }} are braces")
        if match[1]:
            names.add(match[1])
    escaped_bytes(template[place:])
    return names


def fill(template: str, values: Mapping[str, Any]) -> bytes:
    """The bytes, with a value for each name. Raises ValueError for values that are missing, not
    asked for, or no plain text: a line end in one would be a second command."""
    wanted = names_in(template)
    if wanted != values.keys():
        listed = ", ".join(sorted(wanted)) or "none"
        raise ValueError(f"arguments {', '.join(sorted(values)) or 'none'}; expected {listed}")
    if not wanted and template.startswith("hex:"):
        return wire_bytes(template)
    parts, place = [], 0
    for match in _PLACE.finditer(template):
        parts.append(escaped_bytes(template[place : match.start()]))
        place = match.end()
        parts.append(_text(match[1], values[match[1]]) if match[1] else match[0][:1].encode())
    return b"".join([*parts, escaped_bytes(template[place:])])


def _text(name: str, value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name}: expected a number or text")
    text = str(value)
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"{name}: at most {_LONGEST} printable characters")
    return text.encode()
