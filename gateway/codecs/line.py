"""InfluxDB line protocol as a payload, as Telegraf publishes it: each line is a reading.

What the metrics and, where wanted, the devices are called is said by templates in which
`{measurement}`, `{field}`, `{tags}` (the values of all tags, in the order of their names) and `{…}`
with the name of a tag stand for what is on the line. What is between dots and stays empty is left
out with its dot. See gateway.codecs.line_parser for the format.

Limits: 5,000 lines and 20,000 values in a payload, besides those of the format.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pydantic import field_validator

from gateway.codecs.line_parser import LineParser, Lines, Point, Precision, Refused
from gateway.codecs.reports import MAX_NAMES, Report, metric_name
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings, wrong

_PART = re.compile(r"\{([^{}.]+)\}")
_MOST_LOOKED_AT = 1_000_000  # bytes, of which a text over many lines counts each time it goes on
_HEADS, _SHORT = 10_000, 512  # what is remembered: so many measurements with tags, so long
_MOST_LINES, _MOST_VALUES = 5_000, 20_000  # in a payload

Named = tuple[str, int | None, dict[str, Value]]


class LineSettings(CodecSettings):
    """InfluxDB line protocol."""

    type: Literal["line"] = "line"
    """Which codec."""
    precision: Precision = "ns"
    """Unit of the times."""
    metric: str = "{measurement}.{tags}.{field}"
    """What metrics are called, by `{measurement}`, `{field}`, `{tags}` (the values of all tags) and
    tags by name, such as `{cpu}`. With fewer of them, lines that differ in the rest become one
    metric."""
    device: str | None = None
    """What the device is called, likewise but without `{field}`, such as `{host}`. If not given, it
    is the one that the topic names."""

    @field_validator("metric", "device")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None and re.search(r"[{}]", _PART.sub("", value)):
            raise ValueError("a brace that does not go with a name, as in {host}")
        return value

    @field_validator("metric")
    @classmethod
    def _with_field(cls, value: str) -> str:
        if "{field}" not in value:
            message = "all fields of a line would have one name"
            raise wrong("metric", message, "put {field} in")
        return value

    @field_validator("device")
    @classmethod
    def _without_field(cls, value: str | None) -> str | None:
        if value is not None and ("{field}" in value or not _PART.search(value)):
            message = "the device is told from a measurement or its tags"
            raise wrong("device", message, 'use such as "{host}", or leave it out')
        return value

    def build(self) -> "LineCodec":
        """The codec, for one source."""
        return LineCodec(self)


class LineCodec:
    """See the module."""

    def __init__(self, settings: LineSettings) -> None:
        self._parser = _Frugal(settings.precision)
        self._metric = _filler(settings.metric)
        self._device = _filler(settings.device) if settings.device is not None else None
        self._names: dict[tuple[str, ...], dict[str, str]] = {}  # fields' names by what is before
        self._fields = 0  # that are remembered

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """As `addressed`, without the devices."""
        return [(time, values) for _, time, values in self.addressed("", device, payload, received)]

    def addressed(self, topic: str, device: str, payload: bytes, received: int) -> Iterable[Named]:
        """See gateway.core.contracts.Addressed. Raises DecodeError with reason empty, device or
        what gateway.codecs.line_parser has."""
        if payload.count(b"\n") > 2 * _MOST_LINES:
            raise DecodeError("too many lines in one payload", reason="too_many")
        found = list(self._reports(payload))
        if not found:
            raise DecodeError("no line in it", reason="empty")
        return found

    def _reports(self, payload: bytes) -> Iterator[Named]:
        self._parser.begin()
        lines = values = 0
        for number, point in Lines(self._parser).feed(payload, last=True):
            if isinstance(point, Refused):
                raise DecodeError(f"line {number}: {point.detail}", reason=point.reason)
            lines, values = lines + 1, values + len(point.values)
            if lines > _MOST_LINES or values > _MOST_VALUES:
                raise DecodeError("too many values in one payload", reason="too_many")
            yield self._report(point)

    def _report(self, point: Point) -> Named:
        device = ""
        if self._device is not None:
            device = self._device(point.measurement, point.tags, "")
            if not device:
                raise DecodeError("a line without what names the device", reason="device")
        key = (point.measurement, *point.tags, *point.tags.values())
        known = self._names.get(key)
        if known is None:
            known = self._meet(key)
        values = {
            known.get(field) or self._name(known, point, field): value
            for field, value in point.values.items()
        }
        return device, point.time, values

    def _meet(self, key: tuple[str, ...]) -> dict[str, str]:
        """The names of a measurement with tags, none of which is known yet."""
        known: dict[str, str] = {}
        if len(self._names) >= _HEADS:
            self._forget()
        if sum(map(len, key)) <= _SHORT:
            self._names[key] = known
        return known

    def _name(self, known: dict[str, str], point: Point, field: str) -> str:
        name = metric_name(self._metric(point.measurement, point.tags, field))
        self._fields += 1
        if self._fields > MAX_NAMES:
            self._forget()
        known[field] = name
        return name

    def _forget(self) -> None:
        self._names.clear()
        self._fields = 0


class _Frugal(LineParser):
    """A parser that gives up on a payload which it would have to look at again and again."""

    _left = 0

    def begin(self) -> None:
        """With another payload."""
        self._left = _MOST_LOOKED_AT

    def parse(self, line: bytes) -> Point:
        self._left -= len(line)
        if self._left < 0:
            raise DecodeError("texts over too many lines", reason="too_long")
        return super().parse(line)


def _filler(template: str) -> Callable[[str, dict[str, str], str], str]:
    """What fills a template: measurement, tags, field."""
    parts = [_PART.split(part) for part in template.split(".")]

    def fill(measurement: str, tags: dict[str, str], field: str) -> str:
        special = {"measurement": measurement, "field": field}

        def meant(name: str) -> str:
            if name == "tags":
                return ".".join(tags[key] for key in sorted(tags))
            return special.get(name) or tags.get(name, "")

        whole = (
            "".join(meant(piece) if odd % 2 else piece for odd, piece in enumerate(part))
            for part in parts
        )
        return ".".join(piece for piece in whole if piece)

    return fill
