"""JSON payloads: an object of metrics, a list of objects, or one bare value (RFC 8259).

`time`, `ts` or `timestamp` in an object is the report's own time: a number in s, ms, us or ns,
told apart by magnitude, or ISO 8601 (without an offset: UTC). The first of them that is not null
counts; none of them is a metric. Nested objects and lists flatten with dots:
`{"a": {"b": [1, 2]}}` is `a.b.0` and `a.b.1`. Nulls are left out; of a name that comes twice the
last value counts.

Limits: 10,000 reports in a payload, 1,000 metrics in a report, 16 levels, names of 128 printable
characters, texts of 1,024 characters, times before 2262.
"""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

Report = tuple[int | None, dict[str, Value]]

MAX_REPORTS = 10_000
MAX_METRICS = 1_000
MAX_NAME = 128
MAX_TEXT = 1_024
MAX_DEPTH = 16
MAX_NAMES = 10_000
LATEST = 9_214_646_400 * 10**9
"""2262-01-01 in ns: a later time does not fit the 64 bits that everything behind us has for it."""
_TIME_KEYS = ("time", "ts", "timestamp")
_MAGNITUDES = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1))
_MILLISECONDS = 1e11  # from here on a time is in ms or finer
_EXACT = 2.0**53  # up to here a float holds every whole number
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(rb'"(?:time|ts|timestamp)"\s*:\s*\d+\.')
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")

_MISFITS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_flat = msgspec.json.Decoder(dict[str, float | bool | str]).decode
_any = msgspec.json.Decoder(strict=True)
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonSettings(CodecSettings):
    """JSON: an object of metrics, a list of them, or one bare value."""

    type: Literal["json"] = "json"
    """Which codec."""

    def build(self) -> "JsonCodec":
        """The codec, for one source."""
        return JsonCodec()


class JsonCodec:
    """See the module. names: metric names found good, at most MAX_NAMES."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def plain(self, payloads: Sequence[bytes]) -> Sequence[dict[str, Value] | None]:
        """See gateway.core.contracts.Plain."""
        try:
            # In so short a payload no text is too long and no report has too many metrics.
            if max(map(len, payloads), default=0) <= MAX_TEXT:
                return list(map(_flat, payloads))
        except _MISFITS:
            pass  # one by one, then
        return list(map(_plain, payloads))

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The reports in `payload`. Raises DecodeError with reason malformed, empty, time,
        too_deep, too_many or metric."""
        try:
            values = _flat(payload)
        except _MISFITS:
            return self._general(payload)
        if len(payload) > MAX_TEXT and not _within_limits(values):
            return self._general(payload)
        if values and values.keys() <= self.names:
            return ((None, values),)
        return self._new(payload, values)

    def _new(self, payload: bytes, values: dict[str, Value]) -> Iterable[Report]:
        """A flat report with a time or with names not seen yet."""
        time = None
        for key in _TIME_KEYS:
            if key in values:
                given = values.pop(key)
                if type(given) is float:
                    if given > _EXACT:
                        return self._general(payload)  # its last digits are lost here
                    if given >= _MILLISECONDS and _FRACTION.search(payload):
                        given = _nanoseconds(payload, key)
                time = _time(given) if time is None else time
        if not values:
            raise DecodeError("no metric in it", reason="empty")
        if not values.keys() <= self.names:
            self._learn(values)
        return ((time, values),)

    def _learn(self, values: Iterable[str]) -> None:
        names = set(map(_name, values))
        if len(self.names) + len(names) > MAX_NAMES:
            self.names.clear()
        self.names |= names

    def _general(self, payload: bytes) -> list[Report]:
        data = _parse(payload)
        if isinstance(data, list):
            if len(data) > MAX_REPORTS:
                raise DecodeError(f"{len(data)} reports in one payload", reason="too_many")
            reports = [_report(item) for item in data]
        else:
            reports = [_report(data)]
        if not reports:
            raise DecodeError("an empty list", reason="empty")
        return reports


def _plain(payload: bytes) -> dict[str, Value] | None:
    try:
        return _flat(payload) if len(payload) <= MAX_TEXT else None
    except _MISFITS:
        return None


def _within_limits(values: dict[str, Value]) -> bool:
    if len(values) > MAX_METRICS:
        return False
    return all(type(value) is not str or len(value) <= MAX_TEXT for value in values.values())


def _parse(payload: bytes) -> Any:
    try:
        return _any.decode(payload)
    except RecursionError as error:
        raise DecodeError("nested too deep", reason="too_deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"not JSON: {error}") from error


def _report(data: Any) -> Report:
    values: dict[str, Value] = {}
    time = None
    if isinstance(data, dict):
        for key in _TIME_KEYS:
            given = data.pop(key, None)
            if given is not None and time is None:
                time = _time(given)
        _flatten("", data, values, 0)
    else:
        _flatten("value", data, values, 0)
    if not values:
        raise DecodeError("no metric in it", reason="empty")
    return time, values


def _flatten(name: str, data: Any, values: dict[str, Value], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DecodeError(f"nested deeper than {MAX_DEPTH}", reason="too_deep")
    if isinstance(data, dict):
        for key, item in data.items():
            if not key:
                raise DecodeError("a metric without a name", reason="metric")
            _flatten(f"{name}.{key}" if depth else key, item, values, depth + 1)
    elif isinstance(data, list):
        for index, item in enumerate(data):
            _flatten(f"{name}.{index}", item, values, depth + 1)
    elif data is not None:
        if len(values) >= MAX_METRICS:
            raise DecodeError(f"more than {MAX_METRICS} metrics in one report", reason="too_many")
        values[_name(name)] = _value(name, data)


def _name(name: str) -> str:
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise DecodeError(f"bad metric name {name[:40]!r}", reason="metric")
    return name


def _value(name: str, data: bool | int | float | str) -> Value:
    if isinstance(data, bool):
        return data
    if isinstance(data, str):
        if len(data) > MAX_TEXT:
            raise DecodeError(f"{name}: text of {len(data)} characters", reason="metric")
        return data
    try:
        number = float(data)
    except OverflowError as error:
        raise DecodeError(f"{name}: number out of range", reason="malformed") from error
    if not math.isfinite(number):
        raise DecodeError(f"{name}: number out of range", reason="malformed")
    return number


def _time(data: Any) -> int:
    """A report's own time in ns."""
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        raise DecodeError(f"time is a {type(data).__name__}", reason="time")
    if isinstance(data, str):
        return _iso(data)
    for limit, scale in _MAGNITUDES:
        if 0 <= data < limit:
            whole = int(data)
            # A fraction to the microsecond: a float has no more digits, only noise.
            return _representable(whole * scale + round((data - whole) * scale / 1000) * 1000)
    raise DecodeError(f"time {data} is no time since 1970", reason="time")


def _nanoseconds(payload: bytes, key: str) -> int:
    """A time in ms or us with a fraction, as it is written: a float has not all of its digits."""
    written = Decimal(bytes(_raw.decode(payload)[key]).decode())
    scale = 10**6 if written < _MAGNITUDES[1][0] else 10**3
    return round(written * scale)


def _iso(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError as error:
        raise DecodeError(f'time "{text[:40]}" is not ISO 8601', reason="time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    finer = _BEYOND_MICROSECONDS.search(text)  # datetime drops these digits
    nanoseconds = int(finer[1].ljust(3, "0")) if finer else 0
    whole = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
    return _representable(whole + nanoseconds)


def _representable(time: int) -> int:
    """`time`, if 64 bits can hold it: one that they can't would stop the journal."""
    if time >= LATEST:
        raise DecodeError("time is after 2261", reason="time")
    return time
