"""InfluxDB line protocol to reports: the way back from gateway/codecs/line_protocol.py.

Source: InfluxData, "Line protocol" reference: measurement,tag=… field=… timestamp; escapes, quoted
texts (which may hold line breaks), integers `1i`, unsigned integers `1u`, the words for booleans.
A backslash stands for itself, except before what it escapes. NaN and infinities are no values.

Limits, as for JSON: 1,000 metrics in a report, names of 128 printable characters, texts of 1,024
characters, times before 2262; and lines of 1 MiB.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gateway.codecs.reports import LATEST, MAX_METRICS, MAX_NAME, MAX_NAMES, MAX_TEXT
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError

Precision = Literal["ns", "us", "ms", "s"]
FACTORS: dict[Precision, int] = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
"""What a unit of time is in ns."""
MOST_LINE = 2**20
"""The longest line (bytes)."""
_MOST_JOINED = 65_536  # bytes of a line with line breaks in its texts
_MOST_BREAKS = 1_024  # in them
_MOST_HEAD = 65_535
_HEADS, _SHORT = 20_000, 512  # heads that are remembered, and how long they may be (characters)

# Possessive quantifiers: no line, however odd, is looked at twice.
_MEASUREMENT = re.compile(r"(?:[^, \\]++|\\++[^\\])++")
_TAG = re.compile(r",((?:[^,= \\]++|\\++[^\\])++)=((?:[^,= \\]++|\\++[^\\])++)")
_HEAD = re.compile(r"(?:[^ \\]++|\\++[^\\])++")
_FIELD = re.compile(
    r'((?:[^,= \\]++|\\++[^\\])++)=(?:"((?:[^"\\]++|\\.)*+)(")?|([^,\s"]++))(,|[ \t]++|\Z)?',
    re.DOTALL,
)
_SPACES = re.compile(r" *+")
_TIME = re.compile(r"(-?[0-9]{1,19})[ \t]*+\Z")
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?"
)
_INTEGER = re.compile(r"([+-]?[0-9]{1,19})i|([0-9]{1,20})u")
_LARGEST = 2**63 - 1
_IN_MEASUREMENT = re.compile(r"\\([, ])")
_IN_KEY = re.compile(r"\\([,= ])")
_IN_TEXT = re.compile(r'\\(["\\])')
_WORDS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}


class Point(NamedTuple):
    """What a line says. time: ns, None where it has none."""

    measurement: str
    tags: dict[str, str]
    time: int | None
    values: dict[str, Value]


class _OpenTextError(DecodeError):
    """The line ends inside a text: what follows the line break may belong to it."""


class LineParser:
    """Parses the lines of one source. precision: the unit of its times."""

    def __init__(self, precision: Precision = "ns") -> None:
        self._factor = FACTORS[precision]
        self._heads: dict[str, tuple[str, dict[str, str]]] = {}
        self._keys: dict[str, str] = {}

    def parse(self, line: bytes) -> Point:
        """The point on a line. Raises DecodeError with reason malformed, metric, text, number,
        time, too_many or too_long."""
        if len(line) > MOST_LINE:
            raise DecodeError(f"a line of more than {MOST_LINE} bytes", reason="too_long")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"not UTF-8: {error.reason}") from error
        match = _HEAD.match(text)
        if match is None:
            raise DecodeError("no measurement")
        head = match[0]
        measurement, tags = self._heads.get(head) or self._learn(head)
        values, end = self._fields(text, match.end())
        return Point(measurement, tags, self._time(text, end), values)

    def _learn(self, head: str) -> tuple[str, dict[str, str]]:
        match = _MEASUREMENT.match(head)
        if match is None:
            raise DecodeError("no measurement")
        if len(head) > _MOST_HEAD:
            raise DecodeError("measurement and tags are over 65535 characters", reason="too_long")
        tags = {}
        place = match.end()
        while place < len(head):
            tag = _TAG.match(head, place)
            if tag is None:
                raise DecodeError(f"not a tag: {head[place : place + 40]!r}")
            tags[_IN_KEY.sub(r"\1", tag[1])] = _IN_KEY.sub(r"\1", tag[2])
            place = tag.end()
        known = (_IN_MEASUREMENT.sub(r"\1", match[0]), tags)
        if len(head) <= _SHORT:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[head] = known
        return known

    def _fields(self, text: str, place: int) -> tuple[dict[str, Value], int]:
        """The values, and where they end."""
        place = _SPACES.match(text, place).end()  # type: ignore[union-attr]
        values: dict[str, Value] = {}
        separator, count = ",", 0
        while separator == ",":
            count += 1
            if count > MAX_METRICS:
                raise DecodeError(f"more than {MAX_METRICS} fields", reason="too_many")
            match = _FIELD.match(text, place)
            if match is None:
                raise DecodeError(f"not a field: {text[place : place + 40]!r}")
            key, quoted, closed, bare, separator = match.groups()
            if bare is not None:
                value: Value = _bare(bare)
            elif closed is None:
                raise _OpenTextError("a text without an end", reason="text")
            else:
                value = _text(quoted)
            if separator is None:
                raise DecodeError(f"not the end of a field: {text[match.end() - 1 :][:40]!r}")
            values[self._keys.get(key) or self._key(key)] = value
            place = match.end()
        return values, place

    def _key(self, key: str) -> str:
        name = _IN_KEY.sub(r"\1", key)
        if len(name) > MAX_NAME or not name.isprintable():
            raise DecodeError(f"bad metric name {name[:40]!r}", reason="metric")
        if len(self._keys) >= MAX_NAMES:
            self._keys.clear()
        self._keys[key] = name
        return name

    def _time(self, text: str, place: int) -> int | None:
        if place == len(text):
            return None
        match = _TIME.match(text, place)
        if match is None:
            raise DecodeError(f"not a time: {text[place : place + 40]!r}", reason="time")
        time = int(match[1]) * self._factor
        if not 0 <= time < LATEST:
            raise DecodeError(f"time {match[1]} is not between 1970 and 2262", reason="time")
        return time


def _bare(text: str) -> Value:
    if _NUMBER.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise DecodeError(f"number out of range: {text[:40]}", reason="number")
        return number
    if text in _WORDS:
        return _WORDS[text]
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise DecodeError(f"not a value: {text[:40]!r}", reason="number")
    whole = int(match[1] or match[2])
    if not -_LARGEST - 1 <= whole <= _LARGEST:
        raise DecodeError(f"{text} does not fit 64 bits with a sign", reason="number")
    return whole


def _text(quoted: str) -> str:
    text = _IN_TEXT.sub(r"\1", quoted) if "\\" in quoted else quoted
    if len(text) > MAX_TEXT:
        raise DecodeError(f"text of {len(text)} characters", reason="text")
    return text


@dataclass(slots=True)
class Refused:
    """A line that cannot be used. number: of the line, from 1."""

    number: int
    reason: str
    detail: str


class Lines:
    """The points of a stream of bytes that comes in pieces. number: lines taken so far."""

    def __init__(self, parser: LineParser) -> None:
        self._parser = parser
        self._rest = b""
        self._passing = False  # over the rest of a line that is too long
        self.number = 0

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[tuple[int, Point | Refused]]:
        """(line number, what it says) of each line that is complete now. Empty lines and those
        that begin with # say nothing. last: nothing comes behind `data`."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if last and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        place = 0
        while place < len(lines):
            taken, found = self._next(lines, place, last)
            if not taken:
                self._rest = b"\n".join([*lines[place:], self._rest])
                break
            if found is not None:
                yield self.number + 1, found
            place += taken
            self.number += taken
        if len(self._rest) > MOST_LINE and not self._passing:
            self._passing = True
            yield self.number + 1, Refused(self.number + 1, "too_long", f"over {MOST_LINE} bytes")
        if self._passing:
            self._rest = b""

    def _next(
        self, lines: list[bytes], place: int, last: bool
    ) -> tuple[int, Point | Refused | None]:
        """How many lines are taken by what comes next; 0 where its end has not come yet."""
        if self._passing:
            self._passing = False
            return 1, None
        line = lines[place].strip(b" \t\r")
        if not line or line.startswith(b"#"):
            return 1, None
        try:
            return 1, self._parser.parse(line)
        except _OpenTextError as error:
            taken, point = self._joined(lines, place, last)
            if point is None and taken:
                return 1, Refused(self.number + 1, error.reason, str(error))
            return taken, point
        except DecodeError as error:
            return 1, Refused(self.number + 1, error.reason, str(error))

    def _joined(self, lines: list[bytes], place: int, last: bool) -> tuple[int, Point | None]:
        """A line together with those behind it, until the text that it began ends; (1, None) where
        it never does: then it is the only one to blame."""
        parts = [lines[place].lstrip(b" \t")]
        size = len(parts[0])
        for line in lines[place + 1 :]:
            parts.append(line)
            size += len(line) + 1
            if size > _MOST_JOINED or len(parts) > _MOST_BREAKS:
                return 1, None
            if b'"' not in line:
                continue
            try:
                return len(parts), self._parser.parse(b"\n".join(parts).rstrip(b" \t\r"))
            except _OpenTextError:
                continue
            except DecodeError:
                return 1, None
        return (1, None) if last else (0, None)
