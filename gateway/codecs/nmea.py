"""NMEA 0183 sentences, as GPS receivers and ships' instruments send them.

`$GPRMC,…*6A`: two letters say who talks, three what about; fields follow; behind `*` is the XOR of
all that is between `$` and it. A sentence that says nothing we know, or that its sender marks as
void, is no reading; one that is damaged is refused, whatever it is about.

The date and time of RMC are the report's own, unless they lie before 2024: receivers count weeks
modulo 1,024, and old ones tell a time 19 years ago. Other sentences have ours.

Source: E. S. Raymond, NMEA Revealed. The library pynmea2 is not used: it gives a field that it
cannot convert as text, so that a metric would change its type where a sentence is odd.
"""

import re
from calendar import timegm
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import xor
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gateway.codecs.nmea_names import NAMED, UNITS, Column
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

Report = tuple[int | None, dict[str, Value]]
Fields = Sequence[str]

_LONGEST = 1_024  # bytes of a sentence; 82 by the standard, which many do not keep to
_MOST = 100  # sentences in a payload
_SENTENCE = re.compile(r"[$!]([A-Z0-9]{3,16})((?:,[^*$!]*)?)(?:\*([0-9A-Fa-f]{2}))?")
_TAG_BLOCK = re.compile(r"\\[^\\]*\\")  # what NMEA 4.0 may put in front
_NUMBER = re.compile(r"[-+]?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})")
_DEGREES = re.compile(r"([0-9]{1,3})([0-9]{2}(?:\.[0-9]{0,12})?)")
_TIME = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?")
_DATE = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})")
_CENTURY = 80  # years from here on are of the last century
_EARLIEST = timegm((2024, 1, 1, 0, 0, 0))  # s
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_KNOTS = {"N": 1.0, "K": 1 / 1.852, "M": 3_600 / 1_852, "S": 0.868976}  # by unit of a speed
_OPPOSITE = {"N": 1.0, "E": 1.0, "S": -1.0, "W": -1.0}

Metric = Annotated[str, Field(pattern=r"^[!-~]{0,128}$")]


class NmeaSettings(CodecSettings):
    """NMEA 0183: position, speed, course, depth, wind and more, by names of their own."""

    type: Literal["nmea"] = "nmea"
    """Which codec."""
    checksum: bool = True
    """Refuse sentences without a checksum. One that is wrong is refused always."""
    sentences: dict[str, tuple[Metric, ...]] = Field(default_factory=dict)
    """Other sentences than the known ones: by what is between `$` and the first comma, without the
    two letters of who talks if it does not begin with P, the metrics of its fields in order; "" for
    a field that is left out."""

    @field_validator("sentences")
    @classmethod
    def _sentences(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in value:
            if not re.fullmatch(r"[A-Z0-9]{3,16}", name):
                raise ValueError(f'"{name}" is no sentence; expected one such as XDR or PGRME')
        return value

    def build(self) -> "NmeaCodec":
        """The codec, for one source."""
        return NmeaCodec(self.sentences, self.checksum)


class NmeaCodec:
    """See the module. others: metrics of sentences that are not known, by their fields."""

    def __init__(self, others: Mapping[str, Sequence[str]], checksum: bool = True) -> None:
        self._others = others
        self._checksum = checksum

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The report of each sentence in `payload` that says something. Raises DecodeError with
        reason malformed, checksum, too_long, too_many or time."""
        lines = [line for line in payload.splitlines() if line.strip()]
        if not lines:
            raise DecodeError("no sentence in it", reason="empty")
        if len(lines) > _MOST:
            raise DecodeError(f"more than {_MOST} sentences in one payload", reason="too_many")
        reports = [self._report(line.strip()) for line in lines]
        return [report for report in reports if report[1]]

    def units(self, device: str) -> Mapping[str, str]:
        """Units by metric."""
        return UNITS

    def _report(self, line: bytes) -> Report:
        if len(line) > _LONGEST:
            raise DecodeError(f"a sentence of {len(line)} bytes", reason="too_long")
        kind, fields = self._sentence(line)
        if kind in self._others:
            return None, _by_name(self._others[kind], fields)
        if kind in _SPECIAL:
            return _SPECIAL[kind](fields)
        return None, _columns(NAMED.get(kind, ()), fields)

    def _sentence(self, line: bytes) -> tuple[str, Fields]:
        """What a sentence is about, and its fields."""
        try:
            text = line.decode("ascii")
        except UnicodeDecodeError as error:
            raise DecodeError("not ASCII") from error
        text = _TAG_BLOCK.sub("", text, count=1) if text[:1] == "\\" else text
        match = _SENTENCE.fullmatch(text)
        if match is None:
            raise DecodeError("not $NAME,…*CHECKSUM")
        name, rest, told = match.groups()
        if told is None and self._checksum:
            raise DecodeError("a sentence without a checksum", reason="checksum")
        found = reduce(xor, (name + rest).encode())
        if told is not None and int(told, 16) != found:
            raise DecodeError(f"checksum {told}; it is {found:02X}", reason="checksum")
        kind = name if name[0] == "P" or len(name) < 5 else name[2:]
        return kind, rest[1:].split(",")


def _field(fields: Fields, place: int) -> str:
    return fields[place] if place < len(fields) else ""


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise DecodeError(f'"{text[:40]}" is no number')
    return float(text)


def _columns(columns: Sequence[Column], fields: Fields) -> dict[str, Value]:
    """Values of the columns that are there; none where the sentence is void."""
    values: dict[str, Value] = {}
    for column in columns:
        text = _field(fields, column.place)
        if column.valid:
            if text not in column.valid:
                return {}
        elif text:
            number = _number(text) * column.factor
            side = _field(fields, column.place + 1)
            values[column.metric] = number * _OPPOSITE.get(side, 1.0) if column.sided else number
    return values


def _by_name(names: Sequence[str], fields: Fields) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, text in zip(names, fields, strict=False):
        if name and text:
            values[name] = float(text) if _NUMBER.fullmatch(text) else text
    return values


def _angle(fields: Fields, place: int, limit: float) -> float | None:
    """Degrees of `ddmm.mmm,N`; None where the field is empty."""
    text, side = _field(fields, place), _field(fields, place + 1)
    if not text:
        return None
    match = _DEGREES.fullmatch(text)
    if match is None or side not in _OPPOSITE:
        raise DecodeError(f'"{text[:40]},{side[:10]}" is no position')
    minutes = float(match[2])
    degrees = float(match[1]) + minutes / 60
    if minutes >= 60 or degrees > limit:
        raise DecodeError(f'"{text[:40]}" is no position on Earth')
    return round(degrees, 8) * _OPPOSITE[side]  # a millimetre


def _position(fields: Fields, place: int) -> dict[str, Value]:
    latitude, longitude = _angle(fields, place, 90.0), _angle(fields, place + 2, 180.0)
    if latitude is None or longitude is None:
        return {}
    return {"latitude": latitude, "longitude": longitude}


def _moment(time: str, date: str) -> int | None:
    """ns since the epoch; None where one is empty or cannot be."""
    if not time or not date:
        return None
    clock, day = _TIME.fullmatch(time), _DATE.fullmatch(date)
    if clock is None or day is None:
        raise DecodeError(f'"{time[:20]}" on "{date[:20]}" is no time', reason="time")
    hours, minutes, seconds = (int(clock[n]) for n in (1, 2, 3))
    day_of_month, month = int(day[1]), int(day[2])
    if hours > 23 or minutes > 59 or seconds > 60 or not 1 <= month <= 12:
        raise DecodeError(f'"{time[:20]}" on "{date[:20]}" is no time', reason="time")
    if not 1 <= day_of_month <= 31:
        raise DecodeError(f'"{date[:20]}" is no date', reason="time")
    year = int(day[3]) + (1900 if int(day[3]) >= _CENTURY else 2000)
    whole = timegm((year, month, day_of_month, hours, minutes, seconds))
    if whole < _EARLIEST:
        return None
    return whole * 10**9 + int((clock[4] or "0").ljust(9, "0"))


def _rmc(fields: Fields) -> Report:
    time = _moment(_field(fields, 0), _field(fields, 8))
    if _field(fields, 1) != "A":
        return None, {"valid": False}  # the time may be the receiver's own guess
    values = {"valid": True, **_position(fields, 2), **_columns(NAMED["RMC"], fields)}
    return time, values


def _gga(fields: Fields) -> Report:
    values = _columns(NAMED["GGA"], fields)
    if values.get("fix") == 0:
        return None, {name: values[name] for name in ("fix", "satellites") if name in values}
    return None, {**_position(fields, 1), **values}


def _gll(fields: Fields) -> Report:
    return None, _position(fields, 0) if _field(fields, 5) in ("A", "") else {}


def _mwv(fields: Fields) -> Report:
    unit, kind = _field(fields, 3), "true" if _field(fields, 1) == "T" else "relative"
    if _field(fields, 4) != "A":
        return None, {}
    values: dict[str, Value] = {}
    if angle := _field(fields, 0):
        values[f"wind.{kind}.angle"] = _number(angle)
    if speed := _field(fields, 2):
        if unit not in _KNOTS:
            raise DecodeError(f'"{unit[:10]}" is no unit of speed')
        values[f"wind.{kind}.speed"] = round(_number(speed) * _KNOTS[unit], 6)
    return None, values


def _rpm(fields: Fields) -> Report:
    if _field(fields, 4) not in ("A", ""):
        return None, {}
    what = "shaft" if _field(fields, 0) == "S" else "engine"
    number, speed, pitch = (_field(fields, place) for place in (1, 2, 3))
    name = f"{what}.{_NAME.sub('_', number)[:8] or '0'}"
    found = {f"{name}.rpm": speed, f"{name}.pitch": pitch}
    return None, {metric: _number(text) for metric, text in found.items() if text}


def _xdr(fields: Fields) -> Report:
    """Transducers: (kind, value, unit, name) of each."""
    values: dict[str, Value] = {}
    for place in range(0, len(fields) - 3, 4):
        text, name = fields[place + 1], _NAME.sub("_", fields[place + 3])[:100]
        if text and name:
            values[f"xdr.{name}"] = _number(text)
    return None, values


_SPECIAL: dict[str, Callable[[Fields], Report]] = {
    "RMC": _rmc, "GGA": _gga, "GLL": _gll, "MWV": _mwv, "RPM": _rpm, "XDR": _xdr,
}  # fmt: skip
