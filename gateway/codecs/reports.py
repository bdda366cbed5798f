"""What all codecs of trees make of a payload once it is parsed: an object of metrics, a list of
objects, or one bare value.

`time`, `ts` or `timestamp` in an object is the report's own time: a number in s, ms, us or ns,
told apart by magnitude, or ISO 8601 (without an offset: UTC). The first of them that is not null
counts; none of them is a metric. Nested objects and lists flatten with dots:
`{"a": {"b": [1, 2]}}` is `a.b.0` and `a.b.1`. Nulls are left out; of a name that comes twice the
last value counts. What JSON has not: NaN is left out as null is, bytes are hexadecimal text, a
date is ISO 8601, keys that are whole numbers are their digits.

Limits: 10,000 reports and 50,000 values in a payload, 1,000 metrics in a report, 16 levels, names
of 128 printable characters, texts of 1,024 characters, times before 2262.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError

Report = tuple[int | None, dict[str, Value]]

MAX_REPORTS = 10_000
MAX_METRICS = 1_000
MAX_NODES = 50_000
"""Values, nulls and lists in a payload: as many as are looked through in 50 ms."""
MAX_NAME = 128
MAX_TEXT = 1_024
MAX_DEPTH = 16
MAX_NAMES = 10_000
LATEST = 9_214_646_400 * 10**9
"""2262-01-01 in ns: a later time does not fit the 64 bits that everything behind us has for it."""
TIME_KEYS = ("time", "ts", "timestamp")
MAGNITUDES = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1))
"""Up to which number a time is in which unit (ns)."""
_SCALARS = frozenset((float, int, str, bool))
_NUMBERS = (float, int)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")


def reports(data: Any, absent: object = None) -> list[Report]:
    """The reports in a payload that was parsed. absent: what stands for nothing, besides None.

    Raises DecodeError with reason malformed, empty, time, too_deep, too_many or metric.
    """
    walk = _Walk(absent)
    if not isinstance(data, list | tuple):
        return [walk.report(data)]
    if len(data) > MAX_REPORTS:
        raise DecodeError(f"{len(data)} reports in one payload", reason="too_many")
    if not data:
        raise DecodeError("an empty list", reason="empty")
    return [walk.report(item) for item in data]


class _Walk:
    """A walk through one payload."""

    def __init__(self, absent: object) -> None:
        self._absent = absent
        self._left = MAX_NODES
        self._names: set[str] = set()  # found good
        self._values: dict[str, Value] = {}  # of the report that is walked through

    def report(self, data: Any) -> Report:
        values = self._values = {}
        time = None
        if isinstance(data, dict):
            for key in TIME_KEYS:
                given = data.pop(key, None)
                if given is not None and given is not self._absent and time is None:
                    time = time_of(given)
            self._object("", data, 0)
        else:
            self._item("value", data, 0)
        if not values:
            raise DecodeError("no metric in it", reason="empty")
        return time, values

    def _object(self, prefix: str, data: dict[Any, Any], depth: int) -> None:
        self._enter(len(data), depth)
        for key, item in data.items():
            if type(key) is not str:
                key = _key(key)
            elif not key:
                raise DecodeError("a metric without a name", reason="metric")
            if type(item) in _SCALARS:
                self._put(prefix + key, item)
            else:
                self._item(prefix + key, item, depth + 1)

    def _list(self, prefix: str, data: Sequence[Any], depth: int) -> None:
        self._enter(len(data), depth)
        for index, item in enumerate(data):
            if type(item) in _SCALARS:
                self._put(f"{prefix}{index}", item)
            else:
                self._item(f"{prefix}{index}", item, depth + 1)

    def _item(self, name: str, data: Any, depth: int) -> None:
        if isinstance(data, dict):
            self._object(f"{name}.", data, depth)
        elif isinstance(data, list | tuple):
            self._list(f"{name}.", data, depth)
        elif data is not None and data is not self._absent:
            self._put(name, data)

    def _enter(self, count: int, depth: int) -> None:
        """Into a list or an object of so many."""
        if depth >= MAX_DEPTH:
            raise DecodeError(f"nested deeper than {MAX_DEPTH}", reason="too_deep")
        self._left -= count
        if self._left < 0:
            raise DecodeError(f"more than {MAX_NODES} values in one payload", reason="too_many")

    def _put(self, name: str, data: Any) -> None:
        if data != data:  # NaN
            return
        if name not in self._names:
            self._names.add(metric_name(name))
        if len(self._values) >= MAX_METRICS:
            raise DecodeError(f"more than {MAX_METRICS} metrics in one report", reason="too_many")
        self._values[name] = data if data is True or data is False else value_of(name, data)


def _key(key: Any) -> str:
    """A key that is no text, as text."""
    if type(key) is not int:
        raise DecodeError(f"a key that is a {type(key).__name__}", reason="metric")
    try:
        return str(key)
    except ValueError as error:  # thousands of digits
        raise DecodeError("a key that is a number out of range", reason="metric") from error


def metric_name(name: str) -> str:
    """`name`, if a metric can have it. Raises DecodeError with reason metric."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise DecodeError(f"bad metric name {name[:40]!r}", reason="metric")
    return name


def value_of(name: str, data: Any) -> Value:
    """A value as it is kept. name: of its metric, for the error.

    Raises DecodeError with reason metric, or malformed for a number that a float cannot hold.
    """
    if isinstance(data, bool):
        return data
    if not isinstance(data, float | int):
        return _text(name, data)
    try:
        number = float(data)
    except OverflowError as error:
        raise DecodeError(f"{name}: number out of range", reason="malformed") from error
    if not math.isfinite(number):
        raise DecodeError(f"{name}: number out of range", reason="malformed")
    return number


def _text(name: str, data: Any) -> str:
    if isinstance(data, str):
        text = data
    elif isinstance(data, bytes):
        text = data.hex()
    elif isinstance(data, date):  # or a datetime
        text = data.isoformat()
    elif isinstance(data, UUID):
        text = str(data)
    else:
        raise DecodeError(f"{name}: a {type(data).__name__} is no value", reason="metric")
    if len(text) > MAX_TEXT:
        raise DecodeError(f"{name}: text of {len(text)} characters", reason="metric")
    return text


def time_of(data: Any) -> int:
    """A report's own time in ns. Raises DecodeError with reason time."""
    if type(data) not in _NUMBERS:
        return _written(data)
    for limit, scale in MAGNITUDES:
        if 0 <= data < limit:
            whole = int(data)
            # A fraction to the microsecond: a float has no more digits, only noise.
            return representable(whole * scale + round((data - whole) * scale / 1000) * 1000)
    shown = data if isinstance(data, float) or data.bit_length() < 100 else "out of range"
    raise DecodeError(f"time {shown} is no time since 1970", reason="time")


def _written(data: Any) -> int:
    """A time that is no number."""
    if isinstance(data, str):
        return _iso(data)
    if isinstance(data, datetime):
        return _since(data)
    raise DecodeError(f"time is a {type(data).__name__}", reason="time")


def _iso(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError as error:
        raise DecodeError(f'time "{text[:40]}" is not ISO 8601', reason="time") from error
    finer = _BEYOND_MICROSECONDS.search(text)  # datetime drops these digits
    return _since(moment, int(finer[1].ljust(3, "0")) if finer else 0)


def _since(moment: datetime, nanoseconds: int = 0) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        since = moment - _EPOCH
    except OverflowError as error:
        raise DecodeError("time is no time since 1970", reason="time") from error
    whole = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
    return representable(whole + nanoseconds)


def representable(time: int) -> int:
    """`time` (ns), if 64 bits can hold it: one that they can't would stop the journal. Raises
    DecodeError with reason time."""
    if time >= LATEST:
        raise DecodeError("time is after 2261", reason="time")
    return time
