"""JSON payloads: an object of metrics, a list of objects, or one bare value (RFC 8259), by the
rules and limits of gateway.codecs.reports.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from gateway.codecs.reports import (
    MAGNITUDES,
    MAX_METRICS,
    MAX_NAMES,
    MAX_TEXT,
    TIME_KEYS,
    Report,
    metric_name,
    reports,
    time_of,
)
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

_MILLISECONDS = 1e11  # from here on a time is in ms or finer
_EXACT = 2.0**53  # up to here a float holds every whole number
_FRACTION = re.compile(rb'"(?:time|ts|timestamp)"\s*:\s*\d+\.')

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
            return reports(parse(payload))
        if len(payload) > MAX_TEXT and not _within_limits(values):
            return reports(parse(payload))
        if values and values.keys() <= self.names:
            return ((None, values),)
        return self._new(payload, values)

    def _new(self, payload: bytes, values: dict[str, Value]) -> Iterable[Report]:
        """A flat report with a time or with names not seen yet."""
        time = None
        for key in TIME_KEYS:
            if key in values:
                given = values.pop(key)
                if type(given) is float:
                    if given > _EXACT:
                        return reports(parse(payload))  # its last digits are lost here
                    if given >= _MILLISECONDS and _FRACTION.search(payload):
                        given = _nanoseconds(payload, key)
                time = time_of(given) if time is None else time
        if not values:
            raise DecodeError("no metric in it", reason="empty")
        if not values.keys() <= self.names:
            self._learn(values)
        return ((time, values),)

    def _learn(self, values: Iterable[str]) -> None:
        names = set(map(metric_name, values))
        if len(self.names) + len(names) > MAX_NAMES:
            self.names.clear()
        self.names |= names


def _plain(payload: bytes) -> dict[str, Value] | None:
    try:
        return _flat(payload) if len(payload) <= MAX_TEXT else None
    except _MISFITS:
        return None


def _within_limits(values: dict[str, Value]) -> bool:
    if len(values) > MAX_METRICS:
        return False
    return all(type(value) is not str or len(value) <= MAX_TEXT for value in values.values())


def parse(payload: bytes) -> Any:
    """JSON. Raises DecodeError with reason malformed or too_deep."""
    try:
        return _any.decode(payload)
    except RecursionError as error:
        raise DecodeError("nested too deep", reason="too_deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"not JSON: {error}") from error


def _nanoseconds(payload: bytes, key: str) -> int:
    """A time in ms or us with a fraction, as it is written: a float has not all of its digits."""
    written = Decimal(bytes(_raw.decode(payload)[key]).decode())
    scale = 10**6 if written < MAGNITUDES[1][0] else 10**3
    return round(written * scale)
