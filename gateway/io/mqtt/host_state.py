"""Tells senders that wait for a host whether it hears them, on the wire."""

import time

from paho.mqtt.client import Client

from gateway.core.contracts import HostState


class Hosting:
    """What one source publishes of itself; all but `leaving` in the network thread."""

    def __init__(self, state: HostState | None) -> None:
        self._state = state
        self._since = 0

    def connecting(self, client: Client) -> None:
        """Before a connection is made, for its will has the time of its beginning."""
        if self._state is not None:
            self._since = time.time_ns() // 1_000_000
            client.will_set(self._state.topic, self._message(False), 1, True)

    def hearing(self, client: Client) -> None:
        """The broker has our subscriptions."""
        self._publish(client, True)

    def leaving(self, client: Client) -> None:
        """Before a connection is closed as it should be: then the broker keeps the will back."""
        if client.is_connected():
            self._publish(client, False)

    def _publish(self, client: Client, online: bool) -> None:
        if self._state is not None:
            client.publish(self._state.topic, self._message(online), 1, True)

    def _message(self, online: bool) -> bytes:
        assert self._state is not None
        return self._state.message(online, self._since)
