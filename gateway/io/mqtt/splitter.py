"""A byte stream cut into MQTT packets: PUBLISH as columns, many at a time, the others one by one.

Packets: MQTT 3.1.1 sections 2.2 and 3.3, MQTT 5.0 sections 2.1 and 3.3.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.io.mqtt.mark import MARK

FORWARDED, OWN = 0x100, 0x200
"""Added to a frame's head: sent by a gateway's mqtt bridge; by this gateway's own."""

_PUBLISH = 0x30
_PLAIN = 0x32  # PUBLISH of QoS 1, not sent before and not retained
_SHORT_START = struct.Struct(">BBH")  # head, remaining length, length of the topic
_LONG_START = struct.Struct(">BBBH")  # the same with a remaining length of two bytes
_PACKET_ID = struct.Struct(">HB")  # and what comes after it: the length of the properties
_HEADER = 65_543  # longest that comes before the properties: topic, packet id, properties' length
_HEADERS = 131_072  # topic and properties of one packet that are held until all of them are there


@dataclass(slots=True)
class Frames:
    """PUBLISH packets of one read, in columns. packet_ids: 0 for QoS 0. heads: the packets' first
    bytes, which hold DUP (0x08) and RETAIN (0x01), and FORWARDED or OWN."""

    topics: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    packet_ids: list[int] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)

    def without(self, take: Callable[[bytes, bytes, int], bool]) -> tuple["Frames", list[int]]:
        """Those that `take` (topic, payload, head) does not want, and the packet ids of those it
        does (QoS 1 only)."""
        left, taken = Frames(), []
        rows = zip(self.topics, self.payloads, self.packet_ids, self.heads, strict=True)
        for topic, payload, packet_id, head in rows:
            if take(topic, payload, head):
                taken.append(packet_id)
                continue
            left.topics.append(topic)
            left.payloads.append(payload)
            left.packet_ids.append(packet_id)
            left.heads.append(head)
        return left, [packet_id for packet_id in taken if packet_id]


class MalformedPacketError(Exception):
    """The other side does not speak MQTT."""


class Splitter:
    """Cuts a byte stream into PUBLISH packets and others. exact: packet ids of those of QoS 2.

    limit: largest payload to keep; of a larger one `limit` + 1 bytes are kept, so that whoever
    checks sees that it is too large, and the rest is passed over without being held. A packet
    whose topic and properties alone are longer than 128 KiB counts as too large: its payload is
    `limit` + 1 zeros.
    other: called with (first byte, body) of each other packet, in order; returns False to stop.
    own: the mark of what this gateway's own bridges send.
    """

    def __init__(
        self, limit: int, properties: bool, other: Callable[[int, bytes], bool], own: bytes = b""
    ) -> None:
        self._limit = limit
        self._properties = properties
        self._other = other
        self._own = own
        self.exact: set[int] = set()
        self._rest = b""
        self._skip = 0

    def feed(self, data: bytes, frames: Frames) -> bool:  # noqa: C901 - one loop is the point
        """Take bytes and add whole packets to `frames`; False if `other` said to stop.

        Raises MalformedPacketError; IndexError where a packet ends within its own header.
        """
        if self._skip:
            data, self._skip = data[self._skip :], max(self._skip - len(data), 0)
        buffer = self._rest + data if self._rest else data
        position, end = 0, len(buffer)
        topics, payloads = frames.topics.append, frames.payloads.append
        packet_ids, heads = frames.packet_ids.append, frames.heads.append
        marked = self._properties and MARK in buffer
        while end - position >= 2:
            if not marked and buffer[position] == _PLAIN:
                position = self._run(buffer, position, end, frames)
                if end - position < 2:
                    break
            head, length, body = buffer[position], buffer[position + 1], position + 2
            if length > 127:
                length, body = _length(buffer, position + 1)
                if body > end:
                    break
            stop = body + length
            if head & 0xF0 != _PUBLISH:
                if stop > end:
                    break
                if not self._other(head, buffer[body:stop]):
                    return False
                position = stop
                continue
            if stop > end and (length <= self._limit or end - body < _HEADER):
                break
            at = body + 2 + (buffer[body] << 8 | buffer[body + 1])
            topic = buffer[body + 2 : at]
            packet_id = 0
            if head & 0x06:
                packet_id = buffer[at] << 8 | buffer[at + 1]
                at += 2
                if head & 0x04:
                    self.exact.add(packet_id)
            if self._properties:
                skip, at = (buffer[at], at + 1) if buffer[at] < 128 else _length(buffer, at)
                at += skip
                if marked and MARK in (found := buffer[at - skip : at]):
                    head |= OWN if self._own and self._own in found else FORWARDED
            if at > stop:
                raise MalformedPacketError("PUBLISH shorter than its own header")
            payload = buffer[at : min(stop, at + self._limit + 1)]
            if length > self._limit:
                if at - body > _HEADERS:
                    payload = bytes(self._limit + 1)
                elif stop > end and at + self._limit >= end:
                    break  # handed up now it would be short, and taken for the whole payload
            topics(topic)
            payloads(payload)
            packet_ids(packet_id)
            heads(head)
            position = stop
        if position > end:
            self._skip, position = position - end, end
        self._rest = buffer[position:]
        return True

    def _run(self, buffer: bytes, position: int, end: int, frames: Frames) -> int:
        """Take the packets of QoS 1 with nothing special to them, which nearly all are, up to the
        first that is otherwise; where that one begins. It costs half of looking at everything."""
        topics, payloads = frames.topics.append, frames.payloads.append
        packet_ids, properties, limit = frames.packet_ids.append, self._properties, self._limit
        before = len(frames.heads)
        while end - position >= _LONG_START.size:
            head, length, named = _SHORT_START.unpack_from(buffer, position)
            begin = position + _SHORT_START.size
            if length > 127:
                head, low, high, named = _LONG_START.unpack_from(buffer, position)
                begin = position + _LONG_START.size
                length = (low & 127) | high << 7
                if high > 127:
                    break
            stop, at = begin - 2 + length, begin + named
            if head != _PLAIN or stop > end or length > limit or at + 3 > stop:
                break
            packet_id, after = _PACKET_ID.unpack_from(buffer, at)
            at += 2
            if properties:
                at += 1 + after
                if after > 127 or at > stop:
                    break
            topics(buffer[begin : begin + named])
            payloads(buffer[at:stop])
            packet_ids(packet_id)
            position = stop
        frames.heads += [_PLAIN] * (len(frames.topics) - before)
        return position


def _length(buffer: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer and where it ends; an end past the buffer if it is cut short."""
    value = shift = 0
    for place in range(at, at + 4):
        if place >= len(buffer):
            return 0, len(buffer) + 1
        value |= (buffer[place] & 127) << shift
        if buffer[place] < 128:
            return value, place + 1
        shift += 7
    raise MalformedPacketError("length of more than four bytes")
