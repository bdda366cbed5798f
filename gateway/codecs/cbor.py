"""CBOR payloads (RFC 8949), by the rules and limits of gateway.codecs.reports.

Tags: dates (0, 1), large integers, decimal fractions and UUIDs are understood; of an unknown tag
the value counts. Those that share, repeat or compile parts of a payload are refused, for a few
bytes of them become a gigabyte or a minute.
"""

import io
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import cbor2

from gateway.codecs.reports import Report, reports
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

MAX_ODD = 32_768
"""The longest payload with keys that are no text (bytes): such keys can be made to collide, and
then a map takes the square of its size."""
_DEPTH = 40
_LARGEST = 256  # bytes of an integer
_REFUSED = (25, 28, 29, 30, 35, 36, 256, 258, 260, 261, 43000)


class CborSettings(CodecSettings):
    """CBOR: as JSON, in binary."""

    type: Literal["cbor"] = "cbor"
    """Which codec."""

    def build(self) -> "CborCodec":
        """The codec, for one source."""
        return CborCodec()


class CborCodec:
    """See the module."""

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The reports in `payload`. Raises DecodeError with reason malformed, empty, time,
        too_deep, too_many, too_long or metric."""
        return reports(parse(payload), absent=cbor2.undefined)


def parse(payload: bytes) -> Any:
    """What is in a payload, which is one item. Raises DecodeError with reason malformed."""
    try:
        return _whole(payload, strict=True)
    except cbor2.CBORError as error:
        if len(payload) > MAX_ODD:
            raise _malformed(error) from error
    try:
        return _whole(payload, strict=False)
    except cbor2.CBORError as error:
        raise _malformed(error) from error


def _whole(payload: bytes, *, strict: bool) -> Any:
    """strict: keys must be text."""
    file = io.BytesIO(payload)
    decoder = cbor2.CBORDecoder(
        file,
        max_depth=_DEPTH,
        semantic_decoders=_TAGS,
        tag_hook=_unknown,
        strict_hashable_types=strict,
    )
    found = decoder.decode()
    if file.tell() != len(payload):
        raise DecodeError("not CBOR: more comes behind it")
    return found


def _malformed(error: cbor2.CBORError) -> DecodeError:
    cause = f": {error.__cause__}" if error.__cause__ is not None else ""
    return DecodeError(f"not CBOR: {error}{cause}")


# What a tag means. in_key: it is in a key, where only text and plain numbers are safe.


def _unknown(tag: cbor2.CBORTag, in_key: bool) -> Any:
    return _outside(in_key, tag.value)


def _refused(tag: int, value: Any, in_key: bool) -> Any:
    raise ValueError(f"tag {tag} is not taken")


def _outside(in_key: bool, value: Any) -> Any:
    if in_key:
        raise ValueError("a tag in a key")
    return value


def _integer(sign: int, value: Any, in_key: bool) -> int:
    if not isinstance(value, bytes) or len(value) > _LARGEST:
        raise ValueError("not an integer that can be held")
    number = int.from_bytes(_outside(in_key, value), "big")
    return number if sign > 0 else -1 - number


def _decimal(value: Any, in_key: bool) -> float:
    exponent, mantissa = _two(value, in_key)
    return float(f"{mantissa}e{exponent}")


def _binary(value: Any, in_key: bool) -> float:
    exponent, mantissa = _two(value, in_key)
    return math.ldexp(mantissa, exponent)


def _two(value: Any, in_key: bool) -> tuple[int, int]:
    parts = tuple(_outside(in_key, value))
    if len(parts) != 2 or not all(type(part) is int for part in parts):
        raise ValueError("not an exponent and a mantissa")
    return parts


_TAGS: dict[int, Callable[[Any, bool], Any]] = {
    2: partial(_integer, 1),
    3: partial(_integer, -1),
    4: _decimal,
    5: _binary,
    **{tag: partial(_refused, tag) for tag in _REFUSED},
}
