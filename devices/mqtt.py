"""Devices that speak MQTT, through any broker.

A persistent session: what arrives while we are away waits at the broker, and what we were given
is acknowledged only after it is on disk.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from paho.mqtt.client import Client, MQTTv5
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from gateway.codecs.json import JsonSettings
from gateway.core.contracts import Burst, Codec, Command, Context, Device, Endpoint, Reply
from gateway.core.events import Event, StateSeen
from gateway.core.mqtt_url import parse_url
from gateway.core.settings import BrokerAddress, CodecSettings, DeviceSettings, Duration, wrong
from gateway.core.topics import (
    Topics,
    TopicTemplate,
    check_commands,
    check_filter,
    device_of,
    uncovered,
)
from gateway.io.mqtt.beside import Beside
from gateway.io.mqtt.bulk import BulkClient
from gateway.io.mqtt.canary import DEAF, Canary
from gateway.io.mqtt.connection import Connection, make_client, version_of
from gateway.io.mqtt.host_state import Hosting
from gateway.io.mqtt.mark import mark_of
from gateway.io.mqtt.orders import Orders
from gateway.io.mqtt.outgoing import forget_outgoing
from gateway.io.mqtt.receiver import Receiver
from gateway.io.mqtt.standing import Standing
from gateway.io.mqtt.subscriptions import Subscriptions
from gateway.io.mqtt.watch import Watch

if TYPE_CHECKING:
    from gateway.codecs.families import Discovery

log = logging.getLogger(__name__)

_REQUESTS = 1_000  # that wait to be published; of more the oldest is let go


class MqttSettings(BrokerAddress, DeviceSettings):
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
    discover: bool = False
    """Also subscribe to what Tasmota, Shelly, Zigbee2MQTT, ESPHome and other known families use,
    and take names, units and metrics from what they tell."""
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
    canary: Duration = 30.0
    """How often a message of our own must come back through the subscription, which tells a quiet
    one from a deaf one; 0 sends none."""
    commands: str = "devices/{device}/commands/{command}"
    """Where a device hears what it is told: `{device}` is its name, `{command}` the command's.
    Empty: these devices are told nothing."""

    @field_validator("commands")
    @classmethod
    def _commands(cls, value: str) -> str:
        if value:
            check_commands(value)
        return value

    @field_validator("topics")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for topic in value:
            check_filter(topic)
        return value

    @model_validator(mode="after")
    def _template(self) -> "MqttSettings":
        for topic in self.topics:
            TopicTemplate(topic, self.device)
        if self.discover and self.shared:
            message = "a shared subscription is not sent what devices have told of themselves"
            raise wrong("shared", message, "leave out shared, or leave out discover")
        if self.url is None:
            self.refuse_access(
                "the gateway's own broker is used here, with what broker: says",
                "leave out {key}, or name another broker with url:",
            )
        return self

    def listens(self, broker: Endpoint) -> tuple[Endpoint, Sequence[str]]:
        """See DeviceSettings."""
        return self.endpoint(broker), self.filters

    @property
    def filters(self) -> tuple[str, ...]:
        """What is subscribed to: none that another brings as well, since a broker that speaks
        MQTT 5 may send a message once for each subscription (section 3.3.4)."""
        own = uncovered(self.topics)
        if not self.discover:
            return own
        from gateway.codecs import families  # only who discovers needs them

        # Our own stay: the broker may refuse what is only discovered.
        return own + uncovered(families.filters(), by=own)

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return MqttDevice(name, self, context)

    def endpoint(self, default: Endpoint) -> Endpoint:
        """The broker to connect to."""
        return default if self.url is None else self.reached_at(parse_url(self.url))


class MqttDevice:
    """See the module."""

    def __init__(self, name: str, settings: MqttSettings, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._context = context
        self._endpoint = settings.endpoint(context.broker)
        self._templates = [TopicTemplate(topic, settings.device) for topic in settings.topics]
        self._standing = Standing(name, self._endpoint, log, self._emit)
        self._connection: Connection | None = None
        self._client_id = settings.client_id or f"{context.gateway}-{name}"
        modern = version_of(self._endpoint) == MQTTv5
        prefix = f"$share/{settings.shared}/" if settings.shared else ""
        beside = Beside() if settings.discover else None
        subscriptions = Subscriptions(
            [prefix + topic for topic in settings.filters],
            settings.qos,
            modern,
            context.data_dir / "mqtt" / f"{name}.json",
            f"{self._client_id} at {self._endpoint.host}:{self._endpoint.port}",
            beside,
            [each for each in settings.filters if each not in settings.topics],
        )
        self._discovery: Discovery | None = None
        if beside is not None:
            from gateway.codecs import families

            self._discovery = families.Discovery(
                name, f"{context.root}/", self._templates, beside.want, context.payload
            )
        self._requests: deque[tuple[str, bytes]] = deque(maxlen=_REQUESTS)
        known = self._discovery.order if self._discovery is not None else None
        self._orders = Orders(settings.commands, context.gateway, modern, known)
        self._client: BulkClient | None = None
        self._hosting = Hosting(settings.codec.host_state())
        self._canary = Canary(settings.canary)
        topic = Topics(context.root, context.gateway)("canary", name, "echo")
        self._watch = Watch(subscriptions, self._canary, topic)
        self._receiver = Receiver(
            f"{context.root}/".encode(),
            self._watch.topic,
            self._seed,
            self._canary_back,
            context.gather,
        )

    @property
    def trouble(self) -> str:
        """See gateway.core.contracts.Watched."""
        return self._standing.trouble

    @property
    def denied(self) -> bool:
        """See gateway.core.contracts.Watched."""
        return self._standing.denied

    @property
    def dropped(self) -> Mapping[str, int]:
        """See gateway.core.contracts.Watched."""
        return self._receiver.sieve.dropped

    @property
    def retained(self) -> int:
        """See gateway.core.contracts.Watched."""
        return self._receiver.sieve.retained

    @property
    def ignored(self) -> int:
        """Messages of our own root and bridges, which are no readings."""
        return self._receiver.sieve.ignored

    @property
    def concern(self) -> str:
        """What is wrong although we are connected."""
        return self._connection.rivals.concern if self._connection is not None else ""

    def details(self) -> dict[str, Any]:
        """More for status: who we are where, how the subscription is watched (off, canary, or
        subscribing again where the broker forbids the canary), and messages that were no
        readings."""
        return {
            "broker": f"{self._endpoint.host}:{self._endpoint.port}",
            "client_id": self._client_id,
            "watched_by": self._canary.watch,
            "watched_so_because": self._canary.forbidden or None,
            "retained": self.retained,
            "ignored": self.ignored,
            "concern": self.concern or None,
        }

    def device_of(self, topic: str) -> str:
        """The device's name in a topic; "" where the payload names it. Raises DecodeError."""
        if self._discovery is not None and (found := self._discovery.device_of(topic)) is not None:
            return found
        return device_of(self._templates, topic)

    def recoded(self, codec: Codec) -> Codec:
        """See gateway.core.contracts.Recoding."""
        return codec if self._discovery is None else self._discovery.recoded(codec)

    def publish(self, topic: str, payload: bytes) -> None:
        """See gateway.core.contracts.Publishing."""
        self._requests.append((topic, payload))

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator. Done is what the broker has taken for somebody who
        is subscribed."""
        if command.expires and time.time_ns() > command.expires:
            return Reply("expired", error="it came too late")
        client = self._client
        if client is None or not client.is_connected():
            return Reply("failed", error=f"no connection to the broker: {self.trouble}")
        return await self._orders.send(client, command)

    async def listen(self) -> AsyncIterator[Burst]:
        """Bursts as read from the socket. Raises ConfigError if a certificate cannot be used."""
        self._receiver.handover.bind(asyncio.get_running_loop())
        made = make_client(self._endpoint, self._client_id, clean=False, factory=BulkClient)
        assert isinstance(made, BulkClient)
        client = made
        client.limit = self._context.payload
        client.patience, client.worth = self._receiver.patience, self._receiver.worth
        client.own = mark_of(self._context.gateway)
        client.on_frames = partial(self._receiver.frames, client)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_publish = self._published
        self._client = client
        connection = self._connection = Connection(
            client,
            self._endpoint,
            clean=False,
            lost=self._lost,
            before=partial(self._renew, client),
            tick=partial(self._look_after, client),
            window=self._settings.window,
        )
        connection.start()
        try:
            while True:
                for burst in await self._receiver.handover.take():
                    yield burst
        finally:
            self._standing.trouble = "stopped"
            self._hosting.leaving(client)
            await asyncio.shield(asyncio.to_thread(connection.stop))
            # With them go the sockets that the client keeps for itself.
            self._connection = self._client = None

    def _renew(self, client: BulkClient) -> None:
        client.renew()
        self._hosting.connecting(client)
        self._receiver.window.renewed()

    # -- in the network thread --------------------------------------------------------------

    def _seed(self, topic: str, payload: bytes) -> None:
        event = StateSeen(kind="device", name=self.name, topic=topic, payload=payload)
        if self._discovery is None:
            self._emit(event)
        else:
            self._receiver.handover.call(self._discovery.retained, event, self._context.emit)

    def _connected(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            denied = self._standing.refused(str(reason))
            if denied and self._connection is not None:
                self._connection.slow_down()
            return
        assert isinstance(client, BulkClient)
        forget_outgoing(client)  # a canary of an earlier connection tells nothing of this one
        client.opened()
        self._receiver.connected(flags.session_present)
        self._standing.accepted(forgotten=not flags.session_present)
        self._watch.connected(client)

    def _subscribed(
        self, client: Client, userdata: Any, packet_id: int, reasons: Any, properties: Any
    ) -> None:
        if self._watch.subscribed(packet_id, reasons):
            return
        refused = self._watch.subscriptions.refused(reasons)
        if refused:
            self._standing.deny("subscription refused: " + ", ".join(refused))
            return
        self._watch.subscriptions.accepted()
        self._hosting.hearing(client)
        self._standing.denied = False
        self._standing.hearing(DEAF if self._canary.deaf else "")

    def _published(
        self, client: Client, userdata: Any, packet_id: int, reason: Any, properties: Any
    ) -> None:
        self._watch.published(client, userdata, packet_id, reason, properties)
        self._receiver.handover.call(self._orders.answered, packet_id, reason)

    # -- the canary, in the network thread ---------------------------------------------------

    def _look_after(self, client: BulkClient) -> str:
        """Between reads: publish what is asked for; send the canary, miss it, do something."""
        while self._requests and client.is_connected():
            client.publish(*self._requests.popleft())
        if client.is_connected():
            self._watch.subscriptions.look(client)
        covered = len(self._watch.subscriptions.filters) == 1
        action = self._canary.due(self._receiver.seen, self._receiver.window.waiting > 0, covered)
        if not action:
            return ""
        if self._canary.deaf and not self.trouble:
            self._standing.deaf()
        if action == "reconnect":
            return DEAF if self._canary.deaf else "it was deaf: what was missed is sent again"
        self._watch.act(client, action)
        return ""

    def _canary_back(self) -> None:
        if self._canary.heard():
            log.warning("device %s: the subscription hears again", self.name)
            self._standing.hearing("")

    def _lost(self, reason: str) -> None:
        self._canary.lost()
        self._receiver.handover.call(self._orders.lost, reason)
        self._standing.lost(reason)

    def _emit(self, event: Event) -> None:
        self._receiver.handover.call(self._context.emit, event)
