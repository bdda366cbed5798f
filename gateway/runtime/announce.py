"""The owner of our outgoing MQTT topics and of the last will.

paho does the sending, but is not the queue: its own refuses the newest when it is full. What is
retained is remembered here, one message a topic, and sent again on every connect, for the broker
may have forgotten everything; the rest waits in a bounded queue while there is no connection.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from paho.mqtt.client import Client, MQTTMessageInfo

from gateway.core.contracts import Endpoint, Flag, Reading
from gateway.core.topics import Topics
from gateway.io.mqtt import Connection, make_client

log = logging.getLogger(__name__)

_QUEUE = 1_000
_IN_FLIGHT = 200
_GOODBYE = 1.0
_STATE_EVERY = 1.0


class Announcer:
    """Publishes for the gateway. connected: whether the broker takes messages at the moment;
    dropped: messages thrown away because they could not be sent in time."""

    def __init__(self, endpoint: Endpoint, topics: Topics) -> None:
        self.connected = False
        self.dropped = 0
        self.trouble = "connecting"
        self._endpoint = endpoint
        self._topics = topics
        self._since = time.time_ns() // 1_000_000
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}
        self._queue: deque[tuple[str, bytes, int, bool]] = deque()
        self._in_flight = 0
        self._client = make_client(
            endpoint,
            f"{topics.gateway}-announce",
            clean=True,
            will=(topics.presence, self._presence("offline")),
        )
        self._client.max_inflight_messages = _IN_FLIGHT
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Announcer"]:
        """Connect and stay so; at the end say goodbye."""
        connection = Connection(self._client, self._endpoint, clean=True, lost=self._on_lost)
        connection.start()
        try:
            yield self
        finally:
            await asyncio.to_thread(self._goodbye, connection)

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        """Publish `payload` as JSON. Never blocks, never raises; while there is no connection the
        latest of each retained topic is kept, and the newest of the rest."""
        self._put(topic, msgspec.json.encode(payload), qos, retain)

    def clear(self, topic: str) -> None:
        """Take back what was retained on a topic."""
        with self._lock:
            self._retained.pop(topic, None)
        self._put(topic, b"", 1, False, retain_once=True)

    def _put(
        self, topic: str, payload: bytes, qos: int, retain: bool, retain_once: bool = False
    ) -> None:
        with self._lock:
            if retain:
                self._retained[topic] = payload
                if not self.connected:
                    return  # sent on connect
            self._queue.append((topic, payload, qos, retain or retain_once))
            if len(self._queue) > _QUEUE + len(self._retained):
                self._queue.popleft()
                self.dropped += 1
        self._pump()

    def _pump(self) -> None:
        """Hand paho what it may have in flight, and no more."""
        while True:
            with self._lock:
                if not self.connected or not self._queue or self._in_flight >= _IN_FLIGHT:
                    return
                topic, payload, qos, retain = self._queue.popleft()
                self._in_flight += 1
            # Not under our lock: paho calls back under its own, and the two would block each other.
            self._client.publish(topic, payload, qos, retain)

    # -- in the network thread --------------------------------------------------------------

    def _on_connect(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self.trouble = str(reason)
            return
        with self._lock:
            self.connected, self.trouble = True, ""
            self._in_flight = 0
            waiting = [item for item in self._queue if not item[3]]
            self._queue = deque(
                [
                    (self._topics.presence, self._presence("online"), 1, True),
                    *((topic, payload, 1, True) for topic, payload in self._retained.items()),
                    *waiting,
                ]
            )
        self._pump()

    def _on_publish(self, client: Client, userdata: Any, mid: int, *_: Any) -> None:
        with self._lock:
            self._in_flight = max(self._in_flight - 1, 0)
        self._pump()

    def _on_lost(self, reason: str) -> None:
        with self._lock:
            was, self.connected = self.connected, False
        if was or self.trouble == "connecting":
            log.warning("announce: no connection to the broker: %s", reason)
        self.trouble = reason

    def _presence(self, state: str) -> bytes:
        return msgspec.json.encode({"state": state, "since": self._since})

    def _goodbye(self, connection: Connection) -> None:
        """Say that we go on purpose: DISCONNECT makes the broker forget the will."""
        if self.connected:
            self._since = time.time_ns() // 1_000_000
            info: MQTTMessageInfo = self._client.publish(
                self._topics.presence, self._presence("offline"), 1, True
            )
            try:
                info.wait_for_publish(_GOODBYE)
            except (RuntimeError, ValueError) as error:
                log.info("announce: the broker did not hear goodbye: %s", error)
        connection.stop(_GOODBYE)


class ReadingsAnnouncer:
    """Publishes readings of devices that do not speak MQTT themselves: each reading, and the last
    one retained (at most one a second for each device)."""

    def __init__(self, announcer: Announcer, topics: Topics) -> None:
        self._announcer = announcer
        self._topics = topics
        self._stated: dict[str, float] = {}

    def take(self, readings: Iterable[Reading]) -> None:
        """Publish these."""
        now = time.monotonic()
        for reading in readings:
            message = {
                "time": reading.time // 1_000_000,
                "values": reading.values,
                "clock": "unsynced" if reading.flags & Flag.UNSYNCED else "synced",
                "historical": bool(reading.flags & Flag.HISTORICAL),
            }
            device = reading.device
            self._announcer.publish(self._topics("data", device, "readings"), message)
            if now - self._stated.get(device, -_STATE_EVERY) >= _STATE_EVERY:
                self._stated[device] = now
                self._announcer.publish(
                    self._topics("state", device, "readings"), message, retain=True
                )

    def describe(self, device: str, info: Mapping[str, Any]) -> None:
        """Say what a device is."""
        self._announcer.publish(self._topics("meta", device, "info"), info, retain=True)
