"""MessagePack payloads, by the rules and limits of gateway.codecs.reports.

A timestamp (extension -1) is a date; other extensions are refused.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Raw

from gateway.codecs.reports import MAX_DEPTH, MAX_NODES, Report, reports
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

MAX_ODD = 8_192
"""The longest payload with lists or bytes as keys (bytes): lists can be made to collide, and then a
map takes the square of its size."""
_decode = msgspec.msgpack.Decoder().decode
_Key = str | int | float | bool | None
_inside = msgspec.msgpack.Decoder(list[Raw] | dict[_Key, Raw]).decode
_LONG_MAP = re.compile(rb"[\xde\xdf]")  # how a map of more than 15 begins
_CONTAINERS = {*range(0x80, 0xA0), *range(0xDC, 0xE0)}


class MsgpackSettings(CodecSettings):
    """MessagePack: as JSON, in binary."""

    type: Literal["msgpack"] = "msgpack"
    """Which codec."""

    def build(self) -> "MsgpackCodec":
        """The codec, for one source."""
        return MsgpackCodec()


class MsgpackCodec:
    """See the module."""

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The reports in `payload`. Raises DecodeError with reason malformed, empty, time,
        too_deep, too_many or metric."""
        return reports(_parse(payload))


def _parse(payload: bytes) -> Any:
    try:
        if len(payload) > MAX_ODD:
            _plain_keys(payload)
        return _decode(payload)
    except RecursionError as error:
        raise DecodeError("nested too deep", reason="too_deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
        raise DecodeError(f"not MessagePack: {error}") from error


def _plain_keys(payload: bytes) -> None:
    """Look at the keys of all maps that are long enough to take long, level by level. Raises
    msgspec.ValidationError where one is neither text nor a number, DecodeError."""
    parts = [payload]
    for _ in range(MAX_DEPTH + 1):
        found: list[Raw] = []
        for part in parts:
            if _LONG_MAP.search(part) is None or part[0] not in _CONTAINERS:
                continue
            inside = _inside(part)
            found += inside.values() if isinstance(inside, dict) else inside
            if len(found) > MAX_NODES:
                raise DecodeError(f"more than {MAX_NODES} values in one payload", reason="too_many")
        if not found:
            return
        parts = [bytes(part) for part in found]
    raise DecodeError(f"nested deeper than {MAX_DEPTH}", reason="too_deep")
