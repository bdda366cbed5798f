"""Bytes as they are written in a configuration: text with escapes, or `hex:` and digits. No I/O."""

import re
from typing import Annotated

from pydantic import AfterValidator

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)
_ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "e": b"\x1b", "\\": b"\\"}


def wire_bytes(text: str) -> bytes:
    """What goes over the wire for a text with escapes; or the bytes behind `hex:`. Raises
    ValueError."""
    if text.startswith("hex:"):
        try:
            return bytes.fromhex(text[4:])
        except ValueError:
            raise ValueError("hex: is followed by pairs of hexadecimal digits") from None
    return escaped_bytes(text)


def escaped_bytes(text: str) -> bytes:
    """UTF-8, with the escapes \\r \\n \\t \\0 \\e \\xNN \\\\. Raises ValueError."""
    parts, place = [], 0
    for match in _ESCAPE.finditer(text):
        parts += [text[place : match.start()].encode(), _escaped(match[1])]
        place = match.end()
    return b"".join([*parts, text[place:].encode()])


def _escaped(code: str) -> bytes:
    if len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code not in _ESCAPES:
        raise ValueError(f"unknown escape \\{code}; known: \\r \\n \\t \\0 \\e \\xNN \\\\")
    return _ESCAPES[code]


def _check(text: str) -> str:
    wire_bytes(text)
    return text


Wire = Annotated[str, AfterValidator(_check)]
"""Bytes as text with escapes, or `hex:` and digits; `wire_bytes` makes bytes of it."""
