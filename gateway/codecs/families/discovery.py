"""What devices at one source tell of themselves, retained or not, on its way to the codec that
recognises them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.codecs.families.codec import FamiliesCodec
from gateway.codecs.families.known import Known
from gateway.codecs.families.orders import order
from gateway.core.contracts import Codec
from gateway.core.errors import DecodeError
from gateway.core.events import Event, StateSeen
from gateway.core.topics import TopicTemplate

log = logging.getLogger(__name__)

_TOLD = 20  # retained messages that make no sense, until they are no longer told one by one


class Discovery:
    """For the source `name`; all on the event loop. own: what the gateway's own topics begin with.
    templates: of the source's own topics. listen: see FamiliesCodec. largest: payload that comes
    whole (bytes)."""

    def __init__(
        self,
        name: str,
        own: str,
        templates: Sequence[TopicTemplate],
        listen: Callable[[str, bool], None],
        largest: int,
    ) -> None:
        self._name = name
        self._own = own
        self._templates = templates
        self._listen = listen
        self._largest = largest
        self._codec: FamiliesCodec | None = None
        self._bad = 0

    def recoded(self, codec: Codec) -> Codec:
        """A codec for families; `codec` is for the source's own topics."""
        self._codec = FamiliesCodec(codec, self._is_own, self._want, self._is_ours)
        return self._codec

    def device_of(self, topic: str) -> str | None:
        """The device's name in a topic, "" where only the payload names it, None where the source
        is to be asked."""
        return self._codec.device_of(topic) if self._codec is not None else None

    def order(self, device: str, name: str, args: Mapping[str, Any]) -> tuple[str, bytes]:
        """Topic and payload of a command, see gateway.codecs.families.orders. Raises LookupError,
        ValueError."""
        return order(self._codec.known if self._codec is not None else Known(), device, name, args)

    def retained(self, event: StateSeen, emit: Callable[[Event], None]) -> None:
        """A retained message: what it tells of devices is noted, a last state goes on."""
        try:
            told = self._told(event)
        except DecodeError as error:
            self._bad += 1
            level = logging.WARNING if self._bad <= _TOLD else logging.DEBUG
            log.log(level, "device %s: retained %s: %s", self._name, event.topic, error)
            return
        if not told:
            emit(event)

    def _told(self, event: StateSeen) -> bool:
        if self._codec is None:
            return False
        if len(event.payload) > self._largest:
            raise DecodeError("too large to be read; raise limits.payload", reason="too_large")
        return self._codec.retained(event.topic, event.payload)

    def _is_own(self, topic: str) -> bool:
        return any(each.device_of(topic) is not None for each in self._templates)

    def _is_ours(self, topic: str) -> bool:
        """What the gateway publishes itself never comes back in."""
        return topic.startswith(self._own)

    def _want(self, topic: str, wanted: bool) -> None:
        if not topic.startswith((self._own, "$")):
            self._listen(topic, wanted)
