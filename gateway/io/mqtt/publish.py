"""PUBLISH packets, made without a client: MQTT 3.1.1 section 3.3, MQTT 5.0 section 3.3.

A client's own publish keeps each message, calls back for each and logs each: some 30 us. Here a
packet is a handful of bytes put together.
"""

LONGEST = 65_535
"""Most bytes of a topic, and the last packet id."""
_TEXT = b"\x01\x01"  # the payload is UTF-8
_EXPIRY, _CONTENT_TYPE = b"\x02", b"\x03"


def text(value: str) -> bytes:
    """A string as it stands in a packet. Raises ValueError for one that cannot."""
    data = value.encode()
    if len(data) > LONGEST:
        raise ValueError(f"{len(data)} bytes; MQTT allows {LONGEST}")
    return len(data).to_bytes(2, "big") + data


def topic_name(value: str) -> bytes:
    """A topic to publish to, as it stands in a packet. Raises ValueError for what MQTT 5.0
    sections 4.7.1 and 1.5.4 forbid: a broker ends the connection that sends it."""
    if not value or "\0" in value:
        raise ValueError("a topic cannot be empty, nor hold a zero")
    for sign in "+#":
        if sign in value:
            raise ValueError(f"`{sign}` cannot be in a topic")
    return text(value)


def properties(content_type: str, expiry: int | None, mark: bytes) -> bytes:
    """The properties of a message, MQTT 5.0 section 3.3.2.3. expiry: how long a broker keeps it
    for whoever is away (s). mark: a whole property."""
    found = _TEXT + _CONTENT_TYPE + text(content_type) + mark
    if expiry is not None:
        found += _EXPIRY + expiry.to_bytes(4, "big")
    return length(len(found)) + found


def length(value: int) -> bytes:
    """A variable byte integer, MQTT 5.0 section 1.5.5."""
    if value < 128:
        return bytes((value,))
    if value < 16_384:
        return bytes((value & 127 | 128, value >> 7))
    return bytes((value & 127 | 128,)) + length(value >> 7)


class Packets:
    """Makes packets of one kind. properties: with their length; empty in MQTT 3.1.1."""

    def __init__(self, qos: int, retain: bool, properties: bytes) -> None:
        self._head = bytes((0x30 | qos << 1 | retain,))
        self._properties = properties
        self._numbered = qos > 0
        self._fixed = len(properties) + 2 * self._numbered

    def make(self, topic: bytes, packet_id: int, payload: bytes) -> bytes:
        """A packet. topic: as `topic_name` gives it."""
        size = length(len(topic) + self._fixed + len(payload))
        number = packet_id.to_bytes(2, "big") if self._numbered else b""
        return b"".join((self._head, size, topic, number, self._properties, payload))
