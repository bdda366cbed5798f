"""What one client is subscribed to, and the canary that watches it, on the wire."""

from typing import Any

from paho.mqtt.client import Client

from gateway.io.mqtt.canary import Action, Canary
from gateway.io.mqtt.subscriptions import Subscriptions


class Watch:
    """All in the network thread. topic: where the canary sings."""

    def __init__(self, subscriptions: Subscriptions, canary: Canary, topic: str) -> None:
        self.subscriptions = subscriptions
        self.canary = canary
        self.topic = topic.encode()
        self._subscribing: int | None = None
        self._publishing: int | None = None

    def connected(self, client: Client) -> None:
        """Subscribe; the canary later, alone: some brokers throw out who asks for too much."""
        self.canary.connected()
        self._subscribing = self._publishing = None
        self.subscriptions.begin(client)

    def act(self, client: Client, action: Action) -> None:
        """Do what is due."""
        if action in ("again", "subscribe"):
            self.subscriptions.again(client)
        if action in ("again", "send"):
            if self._subscribing is None or action == "again":
                self._subscribing = self.subscriptions.also(client, self.topic.decode())
            self._publishing = client.publish(self.topic.decode(), b"canary", 1).mid

    def subscribed(self, packet_id: int, reasons: Any) -> bool:
        """An answer came to a subscription; True if it was to the canary's."""
        if packet_id != self._subscribing:
            return self.subscriptions.answered(packet_id, reasons)
        if reasons and reasons[0].is_failure:
            self.canary.refused(f"the broker does not let us subscribe to it: {reasons[0]}")
        return True

    def published(
        self, client: Client, userdata: Any, packet_id: int, reason: Any, properties: Any
    ) -> None:
        """An answer came to what was published."""
        if packet_id == self._publishing and reason.is_failure:
            self.canary.refused(f"the broker does not let us publish it: {reason}")
