"""Taking back what a paho client still holds of an earlier connection.

paho keeps each QoS 1 message until it is acknowledged, and after a reconnect sends it again behind
whatever its `on_connect` has just published: an old retained state would replace a newer one, and
a connection that is thrown out again and again would pile them up. It has no call to forget them,
so this uses private names; a test looks for them.
"""

from paho.mqtt.client import Client

PRIVATE_NAMES = ("_out_message_mutex", "_out_messages", "_inflight_messages")
"""What this file uses of paho that is not documented."""


def forget_outgoing(client: Client) -> None:
    """Drop every outgoing message that is not acknowledged. To be called first in `on_connect`."""
    with client._out_message_mutex:
        client._out_messages.clear()
        client._inflight_messages = 0
