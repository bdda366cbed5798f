"""A subscriber with a persistent session, which counts what a broker passes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came. properties: of MQTT 5, by their names."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Any

    @property
    def json(self) -> Any:
        """The payload."""
        return msgspec.json.decode(self.payload)


class Subscriber:
    """See the module; it connects again by itself. connections: how often it did."""

    def __init__(self, port: int, topic: str = "#", client_id: str = "subscriber") -> None:
        self.messages: list[Message] = []
        self.connections = 0
        self._subscribed = threading.Event()
        self._topic = topic
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._came
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, 30, clean_start=False, properties=session)

    @contextmanager
    def running(self) -> Iterator["Subscriber"]:
        """Subscribed, for as long as the context lasts."""
        self._client.loop_start()
        try:
            assert self._subscribed.wait(20), "not subscribed"
            yield self
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _connected(self, client: paho.Client, *_: Any) -> None:
        self.connections += 1
        client.subscribe(self._topic, 1)

    def _came(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self.messages.append(
            Message(message.topic, message.payload, message.qos, message.retain, message.properties)
        )

    def wait(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Return once `condition` holds. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"only {len(self.messages)} messages came"
            time.sleep(0.02)

    def count(self, count: int, timeout: float = 60) -> None:
        """Return once so many messages came."""
        self.wait(lambda: len(self.messages) >= count, timeout)

    def numbers(self, metric: str = "n") -> list[int]:
        """The values of a metric, in order of arrival."""
        return [int(found[metric]) for m in list(self.messages) if metric in (found := m.json)]


@contextmanager
def subscriber(port: int, topic: str = "#", client_id: str = "subscriber") -> Iterator[Subscriber]:
    """One that is subscribed."""
    with Subscriber(port, topic, client_id).running() as found:
        yield found
