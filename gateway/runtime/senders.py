"""Who sends on a topic, and what is known of them: looked up for each message."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core.errors import DecodeError

_TOPICS = 20_000


@dataclass(slots=True, eq=False)
class Sender:
    """What is known of a topic: whose it is, its CRC-32, and which metrics were in its plain
    reports: these may come again without being looked at name by name."""

    device: str
    crc: int
    shapes: frozenset[tuple[str, ...]] = frozenset()


class Senders:
    """The senders of one source by topic. device_of: the id of the device that a topic names;
    raises DecodeError. longest: of a topic (bytes).

    get: the sender of a topic; None where it is not known yet, see `learn`.
    """

    def __init__(self, device_of: Callable[[str], str], longest: int) -> None:
        self._device_of = device_of
        self._longest = longest
        self._known: dict[str, Sender] = {}
        self._nobodys: dict[str, DecodeError] = {}  # topics of one burst that name no device
        self.get = self._known.get

    def next_burst(self) -> None:
        """What named no device may name one by now."""
        self._nobodys.clear()

    def forget(self) -> None:
        """Devices have been renamed, merged or forgotten: look at everybody anew."""
        self._known.clear()
        self._nobodys.clear()

    def learn(self, topic: str) -> Sender:
        """The sender of a topic. Raises DecodeError, the same one all through a burst."""
        if (known := self._known.get(topic)) is not None:
            return known
        if topic in self._nobodys:
            raise self._nobodys[topic].with_traceback(None)  # else it grows each time
        try:
            return self._meet(topic)
        except DecodeError as error:
            self._nobodys[topic] = error.with_traceback(None)  # it is asked for again soon
            raise

    def _meet(self, topic: str) -> Sender:
        encoded = topic.encode()
        if len(encoded) > self._longest:
            raise DecodeError(f"topic of {len(encoded)} bytes", reason="topic_too_long")
        if len(self._known) >= _TOPICS:
            self._known.clear()
        known = self._known[topic] = Sender(self._device_of(topic), zlib.crc32(encoded))
        return known

    def all_of(self, topics: Sequence[str]) -> list[Sender] | None:
        """The sender of each topic; None if one of them is not known yet."""
        found = list(map(self.get, topics))
        return found if all(found) else None  # type: ignore[return-value]

    def hashes(
        self, topics: Sequence[str], payloads: Sequence[bytes], known: Sequence[Sender] | None
    ) -> list[int]:
        """CRC-32 of each topic with its payload: by it a frame that is sent again is recognised.
        known: what `all_of` found."""
        if known is not None:
            return list(map(zlib.crc32, payloads, [sender.crc for sender in known]))
        return list(map(zlib.crc32, payloads, map(zlib.crc32, map(str.encode, topics))))
