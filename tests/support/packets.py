"""MQTT packets (MQTT 3.1.1 section 2.2) and HTTP messages in a byte stream, and a proxy that sees
each of them."""

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.support.proxy import Proxy

KINDS = {
    1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 8: "SUBSCRIBE", 9: "SUBACK",
    10: "UNSUBSCRIBE", 11: "UNSUBACK", 12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT",
}  # fmt: skip


def kind_of(packet: bytes) -> str:
    """The packet's kind, such as PUBACK."""
    return KINDS.get(packet[0] >> 4, "other")


class Packets:
    """Cuts a byte stream into whole packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The packets that are complete now."""
        self._rest += data
        while (size := self._size()) is not None and size <= len(self._rest):
            packet, self._rest = self._rest[:size], self._rest[size:]
            yield packet

    def _size(self) -> int | None:
        length = shift = 0
        for place in range(1, min(5, len(self._rest))):
            length |= (self._rest[place] & 127) << shift
            if self._rest[place] < 128:
                return place + 1 + length
            shift += 7
        return None


class Messages:
    """Cuts a byte stream into whole HTTP messages, of a known length (RFC 9112 section 6)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now."""
        self._rest += data
        while (size := self._size()) is not None and size <= len(self._rest):
            message, self._rest = self._rest[:size], self._rest[size:]
            yield message

    def _size(self) -> int | None:
        head = self._rest.find(b"\r\n\r\n") + 4
        if head < 4:
            return None
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self._rest[:head])
        return head + (int(length[1]) if length else 0)


def message_of(message: bytes) -> str:
    """request or answer."""
    return "answer" if message.startswith(b"HTTP/") else "request"


def packet_id(packet: bytes) -> int:
    """Of a PUBLISH of QoS 1 or a PUBACK."""
    at = _body(packet)
    if packet[0] >> 4 == 3:
        at += 2 + int.from_bytes(packet[at : at + 2], "big")
    return int.from_bytes(packet[at : at + 2], "big")


def _body(packet: bytes) -> int:
    at = 1
    while packet[at] >= 128:
        at += 1
    return at + 1


@dataclass
class Cut:
    """Where a connection is cut: at the nth packet of a kind from now on, before it is passed on,
    in the middle of it, or after it. done: set when that has happened."""

    kind: str
    nth: int
    where: str
    done: threading.Event = field(default_factory=threading.Event)


class PacketProxy(Proxy):
    """Passes on whole MQTT packets, or HTTP messages. watch: called with (the client's port,
    packet) before each is passed on. cut_at: where to cut next; None: nowhere."""

    def __init__(
        self, target: int, watch: Callable[[int, bytes], None] | None = None, *, http: bool = False
    ) -> None:
        self._split = Messages if http else Packets
        self._kind = message_of if http else kind_of
        self.cut_at: Cut | None = None
        self._seen: Counter[str] = Counter()
        self._watch = watch
        self._choosing = threading.Lock()
        super().__init__(target)

    def cut_next(self, cut: Cut) -> Cut:
        """Cut there, counted from now on."""
        with self._choosing:
            self._seen.clear()
            self.cut_at = cut
        return cut

    def _forward(self, source: socket.socket, target: socket.socket, limited: bool) -> None:
        packets = self._split()
        with suppress(OSError):
            number = (target if limited else source).getpeername()[1]
            while data := source.recv(65_536):
                parts, cut = self._parts(number, packets.feed(data))
                target.sendall(parts)
                if cut is not None:
                    # Otherwise what is still unread would reset the connection, and the other
                    # side would never read what it was just sent.
                    target.shutdown(socket.SHUT_WR)
                    source.shutdown(socket.SHUT_RD)
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _parts(self, number: int, packets: Iterator[bytes]) -> tuple[bytes, Cut | None]:
        """What to pass on, and where to cut behind it."""
        passed = bytearray()
        for packet in packets:
            cut = self._chosen(packet)
            if cut is None or cut.where == "after":
                if self._watch is not None:
                    self._watch(number, packet)
                passed += packet
            elif cut.where == "middle":
                passed += packet[: max(len(packet) // 2, 1)]
            if cut is not None:
                return bytes(passed), cut
        return bytes(passed), None

    def _chosen(self, packet: bytes) -> Cut | None:
        with self._choosing:
            kind = self._kind(packet)
            self._seen[kind] += 1
            cut = self.cut_at
            if cut is None or cut.kind != kind or self._seen[kind] != cut.nth:
                return None
            self.cut_at = None
            cut.done.set()
            return cut


@contextmanager
def packet_proxy(
    target: int, watch: Callable[[int, bytes], None] | None = None, *, http: bool = False
) -> Iterator[PacketProxy]:
    """A running proxy."""
    found = PacketProxy(target, watch, http=http)
    try:
        yield found
    finally:
        found.stop()
