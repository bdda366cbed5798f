"""Values that are written as text: what the codecs for text and CSV share."""

import re
import sys
from collections.abc import Iterable
from typing import Literal

from gateway.codecs.reports import time_of, value_of
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError

Encoding = Literal["utf-8", "latin-1", "ascii", "cp1252"]
DecimalSign = Literal[".", ","]

_is_number = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?"
).fullmatch
_LARGEST = sys.float_info.max
_NOTHING = ("", "nan", "null")


def as_text(payload: bytes, encoding: Encoding) -> str:
    """A payload as text, without a byte order mark. Raises DecodeError with reason malformed."""
    try:
        return payload.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DecodeError(f"not {encoding}: {error.reason}") from error


class Cells:
    """Reads values written with a decimal sign."""

    def __init__(self, decimal: DecimalSign) -> None:
        self._comma = decimal == ","

    def value(self, name: str, written: str) -> Value | None:
        """A number where one is written, else the text; None for an empty one, `nan` and `null`.
        Raises DecodeError with reason metric or malformed."""
        text = number = written.strip()
        if self._comma:
            number = text.replace(",", ".", 1)
        if _is_number(number):
            value = float(number)
            return value if abs(value) <= _LARGEST else value_of(name, value)
        return None if text.lower() in _NOTHING else value_of(name, text)

    def time(self, written: str) -> int | None:
        """A time, as in JSON; None for an empty one. Raises DecodeError with reason time."""
        text = number = written.strip()
        if self._comma:
            number = text.replace(",", ".", 1)
        if not _is_number(number):
            return None if text.lower() in _NOTHING else time_of(text)
        # Whole numbers stay whole: a float has not all the digits of a time in ns.
        return time_of(int(number) if number.isdigit() else float(number))

    def report(
        self, times: Iterable[str], metrics: Iterable[tuple[str, str]]
    ) -> tuple[int | None, dict[str, Value]]:
        """A report, without values where nothing is written. times: what may be its time, of which
        the first that is not empty counts. Raises DecodeError."""
        time = None
        for written in times:
            if time is None:
                time = self.time(written)
        values = {}
        for name, written in metrics:
            value = self.value(name, written)
            if value is not None:
                values[name] = value
        return time, values
