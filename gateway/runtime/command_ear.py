"""Hears commands on MQTT, and answers them: each step on `res/<device>/<name>`, the outcome also
where the asker wants it (MQTT 5.0, section 4.10).

A connection of its own without a session: what is asked while the gateway is away is not asked.
A command is acknowledged once it is on the disk, so that the broker hands over only so many.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.core.contracts import Endpoint
from gateway.core.errors import BerrygateError, Rejected
from gateway.core.topics import Topics
from gateway.io.mqtt.connection import Connection, make_client, version_of
from gateway.io.mqtt.outgoing import forget_outgoing
from gateway.io.mqtt.publish import topic_name
from gateway.runtime.command_targets import Asked, expiry
from gateway.runtime.commanding import Commanding, Tell
from gateway.store.commands import Commanded

log = logging.getLogger(__name__)

_WINDOW = 100
_ANY = "+"
_GOODBYE = 0.5

Publish = Callable[[str, Any], None]
Reported = Callable[[str, str, bytes], None]


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a message says. A misspelt `expires` must not be a command without one."""

    id: str = ""
    expires: int | float | str | None = None
    args: dict[str, Any] = {}


class CommandEar:
    """See the module. commanding: takes the commands. publish: publishes JSON for the gateway.
    reported: told what devices say they are: device, key, payload."""

    def __init__(
        self,
        endpoint: Endpoint,
        topics: Topics,
        commanding: Commanding,
        publish: Publish,
        reported: Reported,
    ) -> None:
        self._endpoint = endpoint
        self._topics = topics
        self._commanding = commanding
        self._publish = publish
        self._reported = reported
        self._own = f"{topics.root}/{topics.gateway}/"
        self._modern = version_of(endpoint) == MQTTv5
        self._loop: asyncio.AbstractEventLoop
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = make_client(endpoint, f"{topics.gateway}-commands", clean=True)
        self._client.on_connect = self._connected
        self._client.on_message = self._came

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CommandEar"]:
        """Hear, while inside."""
        self._loop = asyncio.get_running_loop()
        connection = Connection(
            self._client, self._endpoint, clean=True, lost=self._lost, window=_WINDOW
        )
        connection.start()
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.to_thread(connection.stop, _GOODBYE)

    # -- in the network thread --------------------------------------------------------------

    def _connected(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            return
        forget_outgoing(client)
        self._generation += 1
        client.subscribe(self._topics("reported", _ANY, _ANY), 1)
        wanted = self._topics("cmd", _ANY, _ANY)
        if self._modern:
            # Retained ones must be told apart also while they come live.
            client.subscribe(wanted, options=SubscribeOptions(qos=1, retainAsPublished=True))
        else:
            client.subscribe(wanted, 1)

    def _came(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard, message, self._generation)

    def _lost(self, reason: str) -> None:
        log.debug("commands: no connection to the broker: %s", reason)  # the announcer tells it

    # -- on the loop ------------------------------------------------------------------------

    def _heard(self, message: MQTTMessage, generation: int) -> None:
        task = asyncio.create_task(self._take(message, generation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, message: MQTTMessage, generation: int) -> None:
        try:
            kind, device, key = message.topic.removeprefix(self._own).split("/")
            if kind == "reported":
                self._reported(device, key, bytes(message.payload))
            elif message.payload or not message.retain:  # empty: somebody clears the topic
                await self._command(message, device, key)
        finally:
            if message.qos and generation == self._generation:
                self._client.ack(message.mid, message.qos)

    async def _command(self, message: MQTTMessage, device: str, name: str) -> None:
        topic, answer = self._topics("res", device, name), self._answering(message)
        order = _Order()
        try:
            order = read(bytes(message.payload))
            asked = Asked(
                device, name, order.args, order.id, expiry(order.expires, time.time_ns()), "mqtt",
                bool(message.retain),
            )  # fmt: skip
            command, again = await self._commanding.ask(asked, answer)
        except (BerrygateError, LookupError) as error:
            why = str(error.args[0]) if isinstance(error, LookupError) else str(error)
            log.warning("command %s of %s refused: %s", name, device, why)
            refused = Commanded(order.id, device, name, {}, "mqtt", 0, status="rejected", error=why)
            self._publish(topic, refused.told())
            answer(refused)
            return
        if again:
            self._publish(topic, command.told() | {"repeated": True})
            answer(command)

    def _answering(self, message: MQTTMessage) -> Tell:
        """What tells an asker the outcome where it wants it."""
        wanted = getattr(message.properties, "ResponseTopic", "")
        if not wanted or not self._may_answer(wanted):
            return lambda command: None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        correlation = getattr(message.properties, "CorrelationData", None)
        if correlation is not None:
            properties.CorrelationData = correlation
        properties.ContentType = "application/json"

        def answer(command: Commanded) -> None:
            if command.ended and self._client.is_connected():
                data = msgspec.json.encode(command.told())
                self._client.publish(wanted, data, 1, properties=properties)

        return answer

    def _may_answer(self, topic: str) -> bool:
        """Not where it would be taken for something that the gateway says, or is told."""
        try:
            topic_name(topic)
        except ValueError:
            return False
        ours = topic.startswith(self._own)
        return not topic.startswith("$") and (not ours or topic.startswith(f"{self._own}res/"))


def read(payload: bytes) -> _Order:
    """Raises Rejected."""
    try:
        return msgspec.json.decode(payload, type=_Order)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Rejected(
            f"no command: {error}", fix='send {"id": "…", "expires": epoch ms, "args": {}}'
        ) from error
