"""The owner of our outgoing MQTT topics and of the last will.

paho keeps the connection, but is not the queue: its own refuses the newest when it is full, and
takes 50 us a message. What is retained is remembered here, one message a topic, and sent again on
every connect, for the broker may have forgotten everything; the rest waits in a bounded queue while
there is no connection.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from paho.mqtt.client import Client, MQTTMessage

from gateway.core.contracts import Endpoint, Flag, Reading
from gateway.core.topics import Topics
from gateway.io.mqtt import publish as packets
from gateway.io.mqtt.connection import Connection, make_client
from gateway.io.mqtt.reasons import of_message
from gateway.io.mqtt.sending import LoopedClient

log = logging.getLogger(__name__)

_QUEUE = 1_000
_IN_FLIGHT = 200
_GOODBYE = 1.0
_STATE_EVERY = 1.0
_CONNECTING = "connecting"


class _Message(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool

    def packet(self, number: int, properties: bytes) -> bytes:
        """As it goes out. number: its packet id."""
        made = packets.Packets(self.qos, self.retain, properties)
        return made.make(packets.text(self.topic), number, self.payload)


class Announcer:
    """Publishes for the gateway. hear: topics it also listens to (QoS 0), and what takes their
    payloads, in the network thread. connected: whether the broker takes messages at the moment;
    trouble: why not, or ""; dropped: messages thrown away because they could not be sent;
    handed: messages given to the client."""

    def __init__(
        self,
        endpoint: Endpoint,
        topics: Topics,
        hear: Mapping[str, Callable[[bytes], None]] = MappingProxyType({}),
    ) -> None:
        self.connected = False
        self.dropped = 0
        self.handed = 0
        self.trouble = _CONNECTING
        self._endpoint = endpoint
        self._topics = topics
        self._since = time.time_ns() // 1_000_000
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}  # what the broker should hold; b"": nothing
        self._unsent: dict[str, None] = {}  # topics of those whose latest it was not sent yet
        self._queue: deque[_Message] = deque()  # the rest
        self._flying: dict[int, _Message] = {}  # by packet id, until acknowledged
        self._window = _IN_FLIGHT
        self._refusal = ""
        self._told: set[str] = set()
        self._farewell = 0  # packet id of our goodbye
        self._heard = threading.Event()  # the broker has it
        # MQTT 5.0 has properties; here there are none of them.
        self._properties = b"\0" if endpoint.protocol == "5" else b""
        client = make_client(
            endpoint,
            f"{topics.gateway}-announce",
            clean=True,
            will=(topics.presence, self._presence("offline")),
            factory=LoopedClient,
        )
        assert isinstance(client, LoopedClient)
        self._client = client
        client.on_connect = self._on_connect
        client.acknowledged, client.refused = self._acknowledged, self._refused
        self._hear: set[str] = set()
        for topic, take in hear.items():
            self.listen(topic, take)

    @property
    def in_flight(self) -> int:
        """Messages handed over and not acknowledged."""
        return len(self._flying)

    @property
    def holding(self) -> bool:
        """Whether messages wait although the broker would take them."""
        waiting = bool(self._unsent or self._queue)
        return waiting and self.connected and self.in_flight < self._window

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Announcer"]:
        """Connect and stay so; at the end say goodbye."""
        connection = Connection(
            self._client,
            self._endpoint,
            clean=True,
            lost=self._on_lost,
            before=self._client.renew,
        )
        connection.start()
        try:
            yield self
        finally:
            await asyncio.to_thread(self._goodbye, connection)

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        """Publish `payload` as JSON; what is retained always with QoS 1. Never blocks, never
        raises; while there is no connection the latest of each retained topic is kept, and the
        newest of the rest."""
        try:
            data = msgspec.json.encode(payload)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            self._drop_one(f"{topic}: cannot be written as JSON: {error}")
            return
        try:
            packets.topic_name(topic)
        except ValueError as error:
            self._drop_one(f'"{topic}" is no topic: {error}')
            return
        with self._lock:
            if retain:
                self._retained[topic] = data
                self._unsent[topic] = None
            else:
                self._queue.append(_Message(topic, data, qos, False))
                self._shorten()
            self._pump()

    def listen(self, topic: str, take: Callable[[bytes], None]) -> None:
        """From now on hear what others publish on a topic, as with `hear`."""
        self._client.message_callback_add(topic, partial(_payload, take))
        self._hear.add(topic)
        if self.connected:
            self._client.subscribe(topic)

    def clear(self, topic: str) -> None:
        """Take back what was retained on a topic, also from a broker that is away just now."""
        with self._lock:
            self._retained[topic] = b""
            self._unsent[topic] = None
            self._pump()

    def _drop_one(self, why: str) -> None:
        with self._lock:
            self.dropped += 1
            told, self._told = why in self._told, self._told | {why}
        if not told:
            log.error("announce: %s", why)

    def _shorten(self) -> None:
        while len(self._queue) > _QUEUE:
            self._queue.popleft()
            self.dropped += 1

    def _pump(self) -> None:
        """Hand over what may be in flight, in one write; under the lock."""
        made = []
        while (message := self._next()) is not None:
            number = self._client.next_id() if message.qos else 0
            made.append(message.packet(number, self._properties))
            if number:
                self._flying[number] = message
        if made:
            self.handed += len(made)
            self._client.write(b"".join(made))

    def _next(self) -> _Message | None:
        if not self.connected or len(self._flying) >= self._window:
            return None
        if self._unsent:
            topic = next(iter(self._unsent))
            del self._unsent[topic]
            return _Message(topic, self._retained[topic], 1, True)
        return self._queue.popleft() if self._queue else None

    def _take_back(self, messages: Iterable[_Message]) -> None:
        """What may not have arrived waits again; of what is retained, the latest does anyway."""
        self._queue.extendleft(reversed([each for each in messages if not each.retain]))
        self._shorten()

    def _settle(self, message: _Message) -> None:
        """The broker has it. A topic that it cleared is ours no more."""
        topic = message.topic
        if message.retain and not message.payload and topic not in self._unsent:
            self._retained.pop(topic, None)

    # -- in the network thread --------------------------------------------------------------

    def _on_connect(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        with self._lock:
            self._window = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
            self._take_back(self._flying.values())
            self._flying.clear()
            self._retained[self._topics.presence] = self._presence("online")
            self._unsent = dict.fromkeys([self._topics.presence, *self._retained])
            again = self.trouble != _CONNECTING
            self.connected, self.trouble, self._told = True, "", set()
        if self._hear:
            client.subscribe([(topic, 0) for topic in sorted(self._hear)])
        if again:
            log.warning("announce: connected again")
        with self._lock:
            self._pump()

    def _acknowledged(self, numbers: Sequence[int]) -> None:
        with self._lock:
            for number in numbers:
                message = self._flying.pop(number, None)
                if message is not None:
                    self._settle(message)
            if self._farewell in numbers:
                self._heard.set()
            self._pump()

    def _refused(self, number: int, code: int) -> None:
        self._drop_one(f"the broker does not take what we publish: {of_message(code)}")
        self._acknowledged((number,))

    def _on_lost(self, reason: str) -> None:
        with self._lock:
            self.connected = False
            self.trouble = reason = self._refusal or reason
            self._refusal = ""
            told, self._told = reason in self._told, self._told | {reason}
        if not told:
            log.warning("announce: no connection to the broker: %s", reason)

    def _presence(self, state: str) -> bytes:
        return msgspec.json.encode({"state": state, "since": self._since})

    def _goodbye(self, connection: Connection) -> None:
        """Say that we go on purpose: DISCONNECT makes the broker forget the will."""
        with self._lock:
            was, self.connected = self.connected, False
            if was:
                self._since = time.time_ns() // 1_000_000
                message = _Message(self._topics.presence, self._presence("offline"), 1, True)
                self._farewell = self._client.next_id()
                self._client.write(message.packet(self._farewell, self._properties))
        if was and not self._heard.wait(_GOODBYE):
            log.info("announce: the broker did not hear goodbye")
        connection.stop(_GOODBYE)


def _payload(
    take: Callable[[bytes], None], client: Client, userdata: Any, message: MQTTMessage
) -> None:
    take(bytes(message.payload))


class ReadingsAnnouncer:
    """Publishes readings of devices that do not speak MQTT themselves: each reading, and the last
    one retained (at most one a second for each device)."""

    def __init__(self, announcer: Announcer, topics: Topics) -> None:
        self._announcer = announcer
        self._topics = topics
        self._held: dict[str, dict[str, Any] | None] = {}

    def take(self, readings: Iterable[Reading]) -> None:
        """Publish these; on the event loop."""
        for reading in readings:
            device = reading.device
            historical = bool(reading.flags & Flag.HISTORICAL)
            message = {
                "time": reading.time // 1_000_000,
                "values": reading.values,
                "clock": "unsynced" if reading.flags & Flag.UNSYNCED else "synced",
                "historical": historical,
            }
            self._announcer.publish(self._topics("data", device, "readings"), message)
            if historical:
                continue  # replayed: says nothing of how things are now
            if device in self._held:
                self._held[device] = message
            else:
                self._state(device, message)

    def _state(self, device: str, message: dict[str, Any]) -> None:
        self._announcer.publish(self._topics("state", device, "readings"), message, retain=True)
        self._held[device] = None
        asyncio.get_running_loop().call_later(_STATE_EVERY, self._release, device)

    def _release(self, device: str) -> None:
        """What came in the meantime: without it the last of a burst would never be told."""
        message = self._held.pop(device)
        if message is not None:
            self._state(device, message)

    def describe(self, device: str, info: Mapping[str, Any]) -> None:
        """Say what a device is."""
        self._announcer.publish(self._topics("meta", device, "info"), info, retain=True)

    def last(self, device: str, moment: int, values: dict[str, Any]) -> None:
        """What a device had said last when the gateway ended, at `moment` (ns): a broker that
        forgot it knows it again. Not told as a reading."""
        message = {
            "time": moment // 1_000_000, "values": values, "clock": "synced", "historical": False,
        }  # fmt: skip
        self._announcer.publish(self._topics("state", device, "readings"), message, retain=True)

    def forget(self, device: str) -> None:
        """Take back what is retained of a device that is no more."""
        if device in self._held:
            self._held[device] = None
        for kind, what in (("meta", "info"), ("state", "readings")):
            self._announcer.clear(self._topics(kind, device, what))
