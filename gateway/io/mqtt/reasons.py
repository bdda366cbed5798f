"""What a broker's reason codes mean for what happens next: MQTT 5.0, section 2.4.

paho gives the return codes of MQTT 3.1.1 as these too.
"""

from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable

FAILURE = 0x80
"""Codes from here on are failures."""

_PAUSE = 5.0  # for a broker that says it is too much and not for how long (s)
_DENIED = {
    0x84: "set protocol: to a version that the broker speaks",
    0x85: "set client_id: to one that the broker takes",
    0x86: "correct username and password at the broker",
    0x87: "let the user publish these topics at the broker, or correct username and password",
    0x8A: "ask who runs the broker: it has banned this client",
    0x8C: "correct username and password at the broker",
    0x9A: "set retain: false; this broker keeps no retained messages",
    0x9B: "set qos: 0; this broker takes no other",
    0x9C: "set url: to the broker that is to be used instead",
    0x9D: "set url: to where the broker has moved",
}
_THROTTLED = (0x89, 0x96, 0x97, 0x9F)  # busy, message rate, quota, connection rate
_TAKEN_OVER = 0x8E
_MESSAGE = (0x80, 0x83, 0x90, 0x95, 0x99)  # what was sent is to blame
_ENDING = (0x81, 0x82, 0x90, 0x95, 0x99)  # the same, where the connection was ended for it

_SAID = {
    0x80: "Unspecified error",
    0x83: "Implementation specific error",
    0x87: "Not authorized",
    0x90: "Topic name invalid",
    0x91: "Packet identifier in use",
    0x95: "Packet too large",
    0x97: "Quota exceeded",
    0x99: "Payload format invalid",
}


def of_connection(code: int, said: str, sending: bool = False) -> BerrygateError:
    """Of a connection that was refused, or ended. said: the reason as text. sending: messages
    were on their way."""
    if sending and code in _ENDING:
        return Rejected(said)
    if code in _DENIED:
        return Denied(said, fix=_DENIED[code])
    if code in _THROTTLED:
        return Throttled(said, after=_PAUSE)
    if code == _TAKEN_OVER:
        fix = "give each client a client_id of its own"
        return Unavailable(f"{said}: another client uses the same client id", fix=fix)
    return Unavailable(said)


def of_message(code: int) -> BerrygateError:
    """Of a message that was not taken (PUBACK)."""
    said = _SAID.get(code, f"reason {code:#04x}")
    return Rejected(said) if code in _MESSAGE else of_connection(code, said)
