"""Devices that speak MQTT, through any broker.

A persistent session: what arrives while we are away waits at the broker, and what we were given
is acknowledged only after it is on disk.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from gateway.codecs.json import JsonSettings
from gateway.core.contracts import Burst, Context, Device, Endpoint, Outcome, Stored
from gateway.core.events import Connected, Disconnected, Event, Failed, StateSeen
from gateway.core.settings import CodecSettings, DeviceSettings, Secret
from gateway.core.topics import TopicTemplate, device_of
from gateway.io.mqtt import Connection, make_client, version_of
from gateway.io.mqtt_bulk import BulkClient, Frames
from gateway.io.mqtt_handover import Handover
from gateway.io.mqtt_url import parse_url
from gateway.io.mqtt_window import Window

log = logging.getLogger(__name__)

_TOPICS = 20_000  # topics whose text is remembered
_RETAIN, _QOS, _DUP = 0x01, 0x06, 0x08
_DENIALS = ("Not authorized", "Bad user name or password", "Banned", "Bad authentication method")


class MqttSettings(DeviceSettings):
    """Devices that publish to an MQTT broker."""

    type: Literal["mqtt"] = "mqtt"
    """Which driver."""
    topics: Annotated[tuple[str, ...], Field(min_length=1)] = ("devices/+/telemetry",)
    """Topic filters to subscribe to; `+` and `#` as in MQTT."""
    device: str = "{1}"
    """The device's name: `{1}` is what the first wildcard of the topic filter matched, `{2}` the
    second, and so on; `{0}` is the whole topic."""
    codec: SerializeAsAny[CodecSettings] = JsonSettings()
    """How payloads are decoded."""
    qos: Literal[0, 1] = 1
    """1: the broker keeps a message until it is on our disk. 0: it forgets it at once."""
    shared: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Name of a shared subscription: gateways with the same name divide the messages. A device's
    order is given up."""
    client_id: str | None = None
    """MQTT client id; must be ours alone. Defaults to `<gateway>-<id>`."""
    window: Annotated[int, Field(ge=1, le=65_535)] = 4_000
    """Most messages that are on the way to our disk at a time."""
    url: str | None = None
    """Another broker than the gateway's, such as mqtts://broker.example:8883."""
    username: str | None = None
    """User name at that broker."""
    password: Secret | None = None
    """Password at that broker."""
    ca_file: str | None = None
    """Certificates that vouch for that broker; the system's if not given."""
    cert_file: str | None = None
    """Our own certificate for that broker."""
    key_file: str | None = None
    """Our certificate's key."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version at that broker."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None:
            parse_url(value)
        return value

    @field_validator("topics")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for topic in value:
            _check_filter(topic)
        return value

    @model_validator(mode="after")
    def _template(self) -> "MqttSettings":
        for topic in self.topics:
            TopicTemplate(topic, self.device)
        return self

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return MqttDevice(name, self, context)

    def endpoint(self, default: Endpoint) -> Endpoint:
        """The broker to connect to."""
        if self.url is None:
            return default
        found = parse_url(self.url)
        return replace(
            found,
            username=self.username or found.username,
            password=self.password.get_secret_value() if self.password else found.password,
            ca_file=self.ca_file or "",
            cert_file=self.cert_file or "",
            key_file=self.key_file or "",
            protocol=self.protocol,
        )


def _check_filter(topic: str) -> None:
    """MQTT 5.0 section 4.7.1. Raises ValueError."""
    levels = topic.split("/")
    if not topic or "\0" in topic:
        raise ValueError("a topic filter cannot be empty")
    for place, level in enumerate(levels):
        if "#" in level and (level != "#" or place != len(levels) - 1):
            raise ValueError(f'"{topic}": `#` must be the whole last level')
        if "+" in level and level != "+":
            raise ValueError(f'"{topic}": `+` must be a whole level')


class MqttDevice:
    """See the module. trouble: why there is no connection at the moment, or "". retained:
    messages that told a last state; ignored: messages of our own root. Both are no readings."""

    def __init__(self, name: str, settings: MqttSettings, context: Context) -> None:
        self.name = name
        self.trouble = "connecting"
        self.denied = False
        self.dropped: Counter[str] = Counter()
        self.retained = 0
        self.ignored = 0
        self._settings = settings
        self._context = context
        self._endpoint = settings.endpoint(context.broker)
        self._templates = [TopicTemplate(topic, settings.device) for topic in settings.topics]
        self._own = f"{context.root}/".encode()
        self._names: dict[bytes, str] = {}
        self._handover = Handover()
        self._connection: Connection | None = None
        self._refusal = ""
        self._forgotten = False
        self._window = Window()

    def device_of(self, topic: str) -> str:
        """The device's name in a topic. Raises DecodeError."""
        return device_of(self._templates, topic)

    async def listen(self) -> AsyncIterator[Burst]:
        """Bursts as read from the socket. Raises ConfigError if a certificate cannot be used."""
        self._handover.bind(asyncio.get_running_loop())
        client_id = self._settings.client_id or f"{self._context.gateway}-{self.name}"
        made = make_client(self._endpoint, client_id, clean=False, factory=BulkClient)
        assert isinstance(made, BulkClient)
        client = made
        client.limit = self._context.payload
        client.on_frames = partial(self._frames, client)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        connection = self._connection = Connection(
            client,
            self._endpoint,
            clean=False,
            lost=self._lost,
            before=partial(self._renew, client),
            window=self._settings.window,
        )
        connection.start()
        try:
            while True:
                for burst in await self._handover.take():
                    yield burst
        finally:
            self.trouble = "stopped"
            await asyncio.shield(asyncio.to_thread(connection.stop))

    def _renew(self, client: BulkClient) -> None:
        client.renew()
        self._window.renewed()

    # -- in the network thread --------------------------------------------------------------

    def _frames(self, client: BulkClient, frames: Frames, generation: int) -> None:
        received = time.time_ns()
        # Filtered only when there is something to filter: a burst is nearly always plain.
        unwanted: list[int] = []
        if any(head & _RETAIN for head in frames.heads):
            frames, seeds = frames.without(self._seed)
            unwanted += seeds
        if any(topic.startswith(self._own) for topic in frames.topics):
            frames, own = frames.without(self._ignore)
            unwanted += own
        if unwanted:
            client.acknowledge(unwanted, generation)
        if self._handover.full:
            frames, _ = frames.without(self._overload)
        if not frames.payloads:
            return
        topics = [self._names.get(topic) or self._name(topic) for topic in frames.topics]
        acknowledged = [packet_id for packet_id in frames.packet_ids if packet_id]
        burst = Burst(
            received,
            topics,
            frames.payloads,
            frames.packet_ids if acknowledged else (),
            [bool(head & _DUP) for head in frames.heads] if acknowledged else (),
            # The client is kept with its generation: another one counts from the start again.
            on_done=partial(self._done, client, acknowledged, generation) if acknowledged else None,
            urgent=bool(acknowledged) and self._window.arrived(len(acknowledged)),
        )
        self._handover.put(burst)

    def _seed(self, topic: bytes, payload: bytes, head: int) -> bool:
        """A retained message tells the last state of a device and is no new reading."""
        if not head & _RETAIN:
            return False
        self.retained += 1
        name = self._name(topic)
        if not topic.startswith(self._own):
            self._emit(StateSeen(kind="device", name=self.name, topic=name, payload=payload))
        return True

    def _ignore(self, topic: bytes, payload: bytes, head: int) -> bool:
        """What the gateway itself publishes never comes back in."""
        own = topic.startswith(self._own)
        self.ignored += own
        return own

    def _overload(self, topic: bytes, payload: bytes, head: int) -> bool:
        """QoS 0 has no window that would hold its sender back: the newest goes."""
        lost = not head & _QOS
        self.dropped["overload"] += lost
        return lost

    def _name(self, topic: bytes) -> str:
        name = topic.decode("utf-8", "replace")
        if len(self._names) >= _TOPICS:
            self._names.clear()
        self._names[topic] = name
        return name

    def _connected(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            if self._connection is not None and self._refusal in _DENIALS:
                self._connection.slow_down()
            return
        assert isinstance(client, BulkClient)
        client.opened()
        self._forgotten = not flags.session_present
        # Again on every connect: the broker may have forgotten everything.
        prefix = f"$share/{self._settings.shared}/" if self._settings.shared else ""
        qos: int = self._settings.qos
        if version_of(self._endpoint) == MQTTv5:
            options = SubscribeOptions(qos=qos, retainAsPublished=False)
            client.subscribe([(prefix + topic, options) for topic in self._settings.topics])
        else:
            client.subscribe([(prefix + topic, qos) for topic in self._settings.topics])

    def _subscribed(
        self, client: Client, userdata: Any, packet_id: int, reasons: Any, properties: Any
    ) -> None:
        refused = [
            f"{topic}: {reason}"
            for topic, reason in zip(self._settings.topics, reasons, strict=False)
            if reason.is_failure
        ]
        if refused:
            self.trouble, self.denied = "subscription refused: " + ", ".join(refused), True
            log.error("device %s: %s", self.name, self.trouble)
            self._emit(Failed(kind="device", name=self.name, error="denied", reason=self.trouble))
            return
        if self.trouble:
            log.info(
                "device %s: connected to %s:%d", self.name, self._endpoint.host, self._endpoint.port
            )
        self.trouble, self.denied = "", False
        host, forgotten = self._endpoint.host, self._forgotten
        self._emit(Connected(kind="device", name=self.name, detail=host, forgotten=forgotten))

    def _lost(self, reason: str) -> None:
        reason, self._refusal = self._refusal or reason, ""
        before, self.trouble = self.trouble, reason
        self.denied = reason in _DENIALS
        if not before:
            log.warning("device %s: connection lost: %s", self.name, reason)
            self._emit(Disconnected(kind="device", name=self.name, reason=reason))
        elif before != reason:
            log.warning(
                "device %s: no connection to %s:%d: %s",
                self.name, self._endpoint.host, self._endpoint.port, reason,
            )  # fmt: skip
        if self.denied and before != reason:
            self._emit(Failed(kind="device", name=self.name, error="denied", reason=reason))

    def _emit(self, event: Event) -> None:
        self._handover.call(self._context.emit, event)

    # -- on the loop ------------------------------------------------------------------------

    def _done(
        self, client: BulkClient, packet_ids: list[int], generation: int, outcome: Outcome
    ) -> None:
        if isinstance(outcome, Stored):
            self._window.acknowledged(len(packet_ids))
            client.acknowledge(packet_ids, generation)
