"""The mark on what an mqtt bridge sends: a user property with the name of the gateway.

Whoever takes in a marked message does not pass it on through an mqtt bridge again, and a gateway
that meets its own mark throws the message away. So nothing goes round, however gateways are
bridged to each other. MQTT 5.0, section 3.3.2.3.7; MQTT 3.1.1 has no place for it.
"""

MARK = b"\x26\x00\x09berrygate"
"""How the property begins on the wire: its kind, and its key."""


def mark_of(gateway: str) -> bytes:
    """The whole property of what this gateway sends."""
    value = gateway.encode()
    return MARK + len(value).to_bytes(2, "big") + value
