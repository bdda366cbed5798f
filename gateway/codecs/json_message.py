"""A reading as a JSON message: what gateway.codecs.json takes in again, time and values intact."""

import math
from collections.abc import Mapping

import msgspec

from gateway.core.contracts import Flag, Reading, Value

_encode = msgspec.json.Encoder().encode


def payload(reading: Reading) -> bytes:
    """A reading as JSON: `time` in epoch ms, and each metric. `clock` and `historical` are there
    where they say something. Raises ValueError for what cannot be written."""
    values: Mapping[str, Value] = reading.values
    body = json_of(values)
    if b"null" in body:
        body = json_of(finite(values))
    if "time" in values:
        raise ValueError("a metric named time would be taken for the reading's time")
    if not values:
        raise ValueError("no value in it")
    whole, rest = divmod(reading.time, 1_000_000)
    time = f"{whole}.{rest:06d}".rstrip("0") if rest else f"{whole}"
    marks = _marks(reading, values) if reading.flags else ""
    return f'{{"time":{time},{marks}'.encode() + body[1:]


def _marks(reading: Reading, values: Mapping[str, Value]) -> str:
    found = ""
    if reading.flags & Flag.UNSYNCED.value and "clock" not in values:
        found += '"clock":"unsynced",'
    if reading.flags & Flag.HISTORICAL.value and "historical" not in values:
        found += '"historical":true,'
    return found


def finite(values: Mapping[str, Value]) -> dict[str, Value]:
    """What JSON has. Raises ValueError if that is nothing."""
    found = {
        metric: value
        for metric, value in values.items()
        if not isinstance(value, float) or math.isfinite(value)
    }
    if not found:
        raise ValueError("no value in it that JSON has (NaN and infinity are left out)")
    return found


def json_of(value: object) -> bytes:
    """A value as JSON. Raises ValueError if it cannot be written."""
    try:
        return _encode(value)
    except (msgspec.MsgspecError, OverflowError, TypeError, UnicodeEncodeError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error
