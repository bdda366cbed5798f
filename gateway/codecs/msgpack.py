"""MessagePack payloads, by the rules and limits of gateway.codecs.reports.

A timestamp (extension -1) is a date; other extensions are refused.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from gateway.codecs.reports import Report, reports
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

_decode = msgspec.msgpack.Decoder().decode


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
        return _decode(payload)
    except RecursionError as error:
        raise DecodeError("nested too deep", reason="too_deep") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
        raise DecodeError(f"not MessagePack: {error}") from error
