"""How CoAP payloads are written, by Content-Format (RFC 7252, section 12.3)."""

from collections.abc import Callable, Iterable, Mapping

from gateway.core.contracts import Codec, Measured, Value
from gateway.core.errors import ConfigError
from gateway.core.settings import CodecSettings

# Plain text needs to be told what is in it; where it was not, it is read as one bare value.
_NAMES = {0: ("text", "json"), 50: ("json",), 60: ("cbor",), 110: ("senml",), 112: ("senml",)}
_BARE = "value"  # what codecs call a bare value

Report = tuple[int | None, dict[str, Value]]


class Formats:
    """own: the codec of payloads that do not say how they are written, and of those that are
    written its way. find: another codec by its name; raises ConfigError where there is none."""

    def __init__(self, own: CodecSettings, find: Callable[[str], Codec]) -> None:
        self._own = own.build()
        self._own_type = own.type
        self._find = find
        self._known: dict[str, Codec | None] = {}
        self._named: dict[tuple[int, str], Codec] = {}

    def codec(self, content_format: int | None) -> Codec | None:
        """The codec for a Content-Format; None where there is none."""
        if content_format is None:
            return self._own
        found = map(self._called, _NAMES.get(content_format, ()))
        return next((codec for codec in found if codec is not None), None)

    def _called(self, name: str) -> Codec | None:
        if name == self._own_type:
            return self._own
        if name not in self._known:
            try:
                self._known[name] = self._find(name)
            except ConfigError:
                self._known[name] = None
        return self._known[name]

    def units(self, device: str) -> Mapping[str, str]:
        """Units of a device by metric, as far as any of the codecs knows them."""
        found: dict[str, str] = {}
        codecs: list[object] = [self._own, *self._known.values()]
        for codec in codecs:
            if isinstance(codec, Measured):
                found |= codec.units(device)
        return found

    def named(self, codec: Codec, metric: str) -> Codec:
        """The same codec, which calls a bare value `metric`."""
        if metric == _BARE:
            return codec
        return self._named.setdefault((id(codec), metric), _Named(codec, metric))


class _Named:
    def __init__(self, codec: Codec, metric: str) -> None:
        self._codec = codec
        self._metric = metric

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """See gateway.core.contracts.Codec."""
        for time, values in self._codec.decode(device, payload, received):
            if values.keys() == {_BARE}:
                yield time, {self._metric: values[_BARE]}
            else:
                yield time, values
