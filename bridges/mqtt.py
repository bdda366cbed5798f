"""Another MQTT broker: each reading a message, done with once that broker has acknowledged it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gateway.codecs.json_message import finite, json_of, payload
from gateway.core.contracts import Batch, Bridge, Context, Endpoint, Flag, Reading
from gateway.core.errors import BerrygateError, Denied, Rejected
from gateway.core.mqtt_url import parse_url
from gateway.core.settings import (
    BridgeSettings,
    BrokerAddress,
    Duration,
    PoolSettings,
    Size,
    wrong,
)
from gateway.io.blocking import Blocking
from gateway.io.mqtt.mark import mark_of
from gateway.io.mqtt.publish import LONGEST, Packets, properties, topic_name
from gateway.io.mqtt.reasons import of_message
from gateway.io.mqtt.sender import Sender, Sending

_PLACES = ("gateway", "device", "metric")
_CONTENT_TYPE = "application/json"
_SUSPECT = 3  # connections that the broker closed over a batch, from which on it goes singly
_KEPT = 64  # batches whose beginning was taken and whose rest was not
_PORT, _TLS_PORT = 1883, 8883


class OneConnection(PoolSettings):
    """Connections to the other broker."""

    max: Annotated[int, Field(ge=1, le=64)] = 1
    """Most connections. One has many messages in flight, so more seldom help; each further one has
    the client id with a number behind it."""
    max_age: Duration = 0.0
    """Age at which a connection is replaced once nobody uses it; 0: never, for MQTT's are made to
    last."""


class MqttBridgeSettings(BrokerAddress, BridgeSettings):
    """Another MQTT broker."""

    type: Literal["mqtt"] = "mqtt"
    """Which driver."""
    url: str | None = None
    """That broker, such as mqtts://broker.example:8883; or give host."""
    more_urls: tuple[str, ...] = ()
    """Further brokers of the same cluster; messages go to whichever is best, each to one."""
    host: str | None = None
    """That broker's host, in place of url."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Its port; 1883, with TLS 8883, if not given."""
    tls: bool = False
    """Encrypted; with url, mqtts:// says so."""
    client_id: str | None = None
    """MQTT client id; must be ours alone at that broker. Defaults to `<gateway>-<name>`."""
    topic: str = "devices/{gateway}/{device}/telemetry"
    """Where a reading is published; may use `{gateway}`, `{device}` and `{metric}`. With `{metric}`
    each value is a message of its own, without time."""
    qos: Literal[0, 1] = 1
    """1: a reading is done with when the broker has acknowledged it. 0: when it has read it."""
    retain: bool = False
    """Have the broker keep the last message of each topic for whoever comes later."""
    expiry: Annotated[Duration, Field(ge=1, le=4_294_967_295)] | None = None
    """How long the broker keeps a message for a subscriber that is away (MQTT 5); as long as it
    likes if not given."""
    window: Annotated[int, Field(ge=1, le=65_535)] = 100
    """Most messages that are sent and not acknowledged; fewer where the broker says so."""
    max_packet: Annotated[Size, Field(ge=128)] | None = None
    """Largest message with its topic. An MQTT 5 broker says what it takes; another one ends the
    connection over a larger one, and it takes some attempts to find out which."""
    timeout: Duration = 5.0
    """Longest the broker may stay silent while it has something to acknowledge."""
    pool: OneConnection = OneConnection()
    """Connections to the other broker."""

    @field_validator("topic")
    @classmethod
    def _topic(cls, value: str) -> str:
        try:
            names = [name for _, name, _, _ in Formatter().parse(value) if name is not None]
            topic_name(value.format(**dict.fromkeys(_PLACES, "x")))
        except (KeyError, IndexError, AttributeError) as error:
            raise ValueError("a topic may only name {gateway}, {device} and {metric}") from error
        if set(names) - set(_PLACES):
            raise ValueError("a topic may only name {gateway}, {device} and {metric}")
        if value.startswith("$"):
            raise ValueError("topics that begin with $ are the broker's own")
        return value

    @field_validator("more_urls")
    @classmethod
    def _more_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parse_url(each)
        return value

    @model_validator(mode="after")
    def _address(self) -> "MqttBridgeSettings":
        if (self.url is None) == (self.host is None):
            key = "url" if self.url else "type"
            fix = "url: mqtt://HOST:1883" if not self.url else "leave out host"
            raise wrong(key, "the other broker is named by url, or by host", fix)
        for key in ("port", "tls"):
            if self.url is not None and key in self.model_fields_set:
                raise wrong(key, "url says that already", f"leave out {key}, or give host for url")
        if self.protocol != "5" and self.expiry is not None:
            raise wrong("expiry", "MQTT 3.1.1 has no expiry", 'leave it out, or set protocol: "5"')
        if len(self.brokers) <= len(self.more_urls):
            raise wrong("more_urls", "a broker is named twice", "name each once")
        return self

    @property
    def endpoint(self) -> Endpoint:
        """The other broker."""
        if self.url is not None:
            return self.reached_at(parse_url(self.url))
        port = self.port or (_TLS_PORT if self.tls else _PORT)
        return self.reached_at(Endpoint(host=self.host or "", port=port, tls=self.tls))

    @property
    def brokers(self) -> Mapping[str, Endpoint]:
        """Every broker, by `host:port`."""
        more = (self.reached_at(parse_url(each)) for each in self.more_urls)
        return {f"{each.host}:{each.port}": each for each in (self.endpoint, *more)}

    def feeds(self, gateway: str) -> tuple[Sequence[Endpoint], str]:
        """See BridgeSettings."""
        return [*self.brokers.values()], self.topic.replace("{gateway}", gateway)

    def build(self, name: str, context: Context) -> Bridge[Any]:
        """The driver."""
        return MqttBridge(name, self, context)


@dataclass(slots=True)
class _Work:
    """A batch that is being sent. left: places of readings that are not done with; refused: why
    others were not taken. falls: connections that the broker closed, giving no reason, since it
    last took something; first: what was next then."""

    batch: Batch
    left: list[int]
    refused: dict[int, str] = field(default_factory=dict)
    falls: int = 0
    first: int = -1

    @property
    def chosen(self) -> list[int]:
        """What to send next: all, or one alone, to see whether the broker minds that one."""
        return self.left[:1] if self.falls >= _SUSPECT else self.left

    def minded(self, reason: str) -> None:
        """The broker closed the connection over a message, and did not say which."""
        if self.falls < _SUSPECT:
            self.falls = _SUSPECT
        else:
            self.refused[self.left.pop(0)] = reason
            self.falls = 0

    def fell(self, took: bool) -> None:
        """The broker closed the connection; took: after it had taken something. Over one message
        it would do so for ever: MQTT 3.1.1 has no other way to refuse one."""
        same = self.first == self.left[0]
        self.first = self.left[0]
        if self.falls >= _SUSPECT:
            self.falls = self.falls + 1 if same else _SUSPECT + 1
        else:
            self.falls = 0 if took else self.falls + 1
        if self.falls >= 2 * _SUSPECT:
            self.refused[self.left.pop(0)] = "the broker closes the connection over it"
            self.falls = 0


class MqttBridge:
    """See the module. What came from another gateway's bridge is left out: passed on, it could
    come round."""

    leaves_out = Flag.FORWARDED

    def __init__(self, name: str, settings: MqttBridgeSettings, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._brokers = settings.brokers
        self.endpoints = tuple(self._brokers)
        self._messages = Messages(settings, context.gateway)
        self._client_id = settings.client_id or f"{context.gateway}-{name}"
        self._threads = Blocking(f"mqtt-{name}")
        self._numbers: set[int] = set()
        self._begun: dict[int, _Work] = {}

    @asynccontextmanager
    async def connect(self, endpoint: str = "") -> AsyncIterator[Sender]:
        """A connection that the broker has accepted. Raises Unavailable, Throttled or Denied."""
        broker = self._brokers[endpoint or self.endpoints[0]]
        number = next(n for n in range(1, len(self._numbers) + 2) if n not in self._numbers)
        self._numbers.add(number)
        client_id = self._client_id if number == 1 else f"{self._client_id}-{number}"
        settings = self._settings
        sender = Sender(broker, client_id, settings.window, settings.timeout, self._threads)
        try:
            await self._open(sender)
            yield sender
        finally:
            sender.close()
            self._numbers.discard(number)

    async def _open(self, sender: Sender) -> None:
        await sender.open()
        settings, allowed = self._settings, sender.allowed
        if settings.retain and not allowed.retain:
            raise Denied("this broker keeps no retained messages", fix="set retain: false")
        if settings.qos > allowed.qos:
            raise Denied(f"this broker takes no QoS {settings.qos}", fix="set qos: 0")

    async def send(self, conn: Sender, batch: Batch) -> None:
        """Publish a batch. Raises Unavailable, Throttled, Denied or Rejected. What was taken of it
        before is not sent again, as long as this process lives."""
        if not conn.is_open:
            await self._open(conn)
        work = self._begun.pop(id(batch), None)
        if work is None or work.batch is not batch:
            work = _Work(batch, list(range(len(batch))))
        try:
            await self._publish(conn, work)
        except BerrygateError:
            self._keep(work)
            raise
        if refused := work.refused:
            reason = next(iter(refused.values()))
            raise Rejected(reason, indices=sorted(refused), reasons=refused)

    def _keep(self, work: _Work) -> None:
        if len(self._begun) >= _KEPT:
            self._begun.pop(next(iter(self._begun)))
        self._begun[id(work.batch)] = work

    async def _publish(self, conn: Sender, work: _Work) -> None:
        while work.left:
            packets, owners, taken = self._pack(work, self._most(conn))
            sending = Sending(packets)
            ended: BerrygateError | None = None
            try:
                if packets:
                    await conn.send(sending, self._settings.qos > 0)
            except BerrygateError as found:
                ended = found
            failed = self._settle(work, sending, owners, taken)
            if isinstance(ended, Rejected) and work.left:
                work.minded(str(ended))
                if work.left:
                    await self._open(conn)
                continue
            if conn.hung_up and work.left:
                work.fell(len(sending.unanswered) < len(packets))
            if (error := ended or failed) is not None:
                raise error

    def _most(self, conn: Sender) -> int | None:
        limits = (conn.allowed.packet, self._settings.max_packet)
        return min((each for each in limits if each), default=None)

    def _pack(self, work: _Work, most: int | None) -> tuple[list[bytes], list[int], int]:
        """Packets of as many of the readings that are left as there are packet ids, whose each
        is, and of how many readings they are. What cannot be sent is refused."""
        packets: list[bytes] = []
        owners: list[int] = []
        readings, make = work.batch.readings, self._messages.make
        for count, place in enumerate(work.chosen):
            try:
                made = make(readings[place], len(packets) + 1, most)
            except ValueError as error:
                work.refused[place] = str(error)
                continue
            if len(packets) + len(made) > LONGEST:
                return packets, owners, count
            packets += made
            owners += [place] * len(made)
        return packets, owners, len(work.chosen)

    def _settle(
        self, work: _Work, sending: Sending, owners: Sequence[int], taken: int
    ) -> BerrygateError | None:
        """Note what became of what was sent; an error if the broker minds something that is not
        a message's own fault."""
        unanswered = {owners[packet_id - 1] for packet_id in sending.unanswered}
        failed: BerrygateError | None = None
        for packet_id, code in sending.refused.items():
            error, place = of_message(code), owners[packet_id - 1]
            if isinstance(error, Rejected):
                work.refused[place] = f"the broker does not take it: {error}"
            else:
                failed = failed or error
                unanswered.add(place)
        rest = work.left[taken:]
        work.left = [place for place in work.left[:taken] if place in unanswered] + rest
        return failed


class Messages:
    """What readings become."""

    def __init__(self, settings: MqttBridgeSettings, gateway: str) -> None:
        self._template = settings.topic.replace("{gateway}", gateway)
        self._single = "{metric}" in settings.topic
        self._packets = Packets(settings.qos, settings.retain, _properties(settings, gateway))
        self._topics: dict[tuple[str, str], bytes] = {}

    def make(self, reading: Reading, packet_id: int, most: int | None) -> list[bytes]:
        """The packets of a reading, their ids from `packet_id` on. Raises ValueError where it
        cannot be sent; most: bytes of the largest packet that may be."""
        if self._single:
            made = [
                self._packets.make(
                    self._topic(reading.device, metric), (packet_id + n) & LONGEST, json_of(value)
                )
                for n, (metric, value) in enumerate(finite(reading.values).items())
            ]
        else:
            topic = self._topic(reading.device, "")
            made = [self._packets.make(topic, packet_id & LONGEST, payload(reading))]
        if most is not None and (size := max(map(len, made))) > most:
            raise ValueError(f"a message of {size} bytes; the broker takes {most}")
        return made

    def _topic(self, device: str, metric: str) -> bytes:
        key = (device, metric)
        found = self._topics.get(key)
        if found is None:
            found = topic_name(self._template.format(device=device, metric=metric))
            if len(self._topics) >= LONGEST:
                self._topics.clear()
            self._topics[key] = found
        return found


def _properties(settings: MqttBridgeSettings, gateway: str) -> bytes:
    if settings.protocol != "5":
        return b""
    expiry = None if settings.expiry is None else round(settings.expiry)
    return properties(_CONTENT_TYPE, expiry, mark_of(gateway))
