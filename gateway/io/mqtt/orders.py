"""Commands for devices on a broker: published, and each waited for until the broker has it.

In MQTT 5 the broker throws away what a device that is away has not fetched in time, says whether
anybody is subscribed, and the message is marked as ours, so that it is never taken for a reading.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.core.contracts import Command, Reply
from gateway.io.mqtt.publish import topic_name

_PATIENCE = 5.0
_NOBODY = 0x10  # MQTT 5.0, section 2.4

Known = Callable[[str, str, Mapping[str, Any]], tuple[str, bytes]]


class Orders:
    """See the module. template: where a device hears, with {device} and {command} in it. gateway:
    whose mark is on the messages. modern: the broker is spoken to in MQTT 5. known: topic and
    payload of a command to a device that hears elsewhere; raises LookupError for others, and
    ValueError for arguments that it cannot have."""

    def __init__(
        self, template: str, gateway: str, modern: bool, known: Known | None = None
    ) -> None:
        self._template = template
        self._known = known
        self._gateway = gateway
        self._modern = modern
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def order(self, command: Command) -> tuple[str, bytes]:
        """Where this command goes, and what is said there. Raises ValueError where it cannot be."""
        if self._known is not None:
            with suppress(LookupError):
                return self._known(command.device, command.name, command.args)
        return self.topic(command), _payload(command)

    def topic(self, command: Command) -> str:
        """The topic by the template. Raises ValueError where that is no topic."""
        if not self._template:
            raise ValueError("the source has no commands: topic")
        names = {"device": command.device, "command": command.name}
        topic = self._template.format(**names)
        topic_name(topic)
        return topic

    async def send(self, client: Client, command: Command) -> Reply:
        """Publish it; the broker's answer. To be called on the event loop."""
        try:
            topic, payload = self.order(command)
        except ValueError as error:
            return Reply("rejected", error=str(error))
        # Without an expiry a broker could hand it over late: then not to one that is away.
        qos = 1 if self._modern else 0
        info = client.publish(topic, payload, qos, properties=self._properties(command))
        if not self._modern:
            return Reply("ok", {"topic": topic})
        # Answers come by the loop: none can have come yet.
        answer = self._waiting[info.mid] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_PATIENCE):
                reason = await answer
        except TimeoutError:
            return Reply("failed", error="the broker does not acknowledge it")
        finally:
            self._waiting.pop(info.mid, None)
        return _reply(reason, topic)

    def answered(self, packet_id: int, reason: Any) -> None:
        """The broker has acknowledged something that we published. On the event loop."""
        waiting = self._waiting.get(packet_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reason)

    def lost(self, why: str) -> None:
        """The connection is gone, and with it every answer. On the event loop."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(why)

    def _properties(self, command: Command) -> Properties | None:
        if not self._modern:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = ("berrygate", self._gateway)
        if command.expires:
            left = (command.expires - time.time_ns()) // 10**9
            properties.MessageExpiryInterval = min(max(left, 1), 2**32 - 1)
        return properties


def _payload(command: Command) -> bytes:
    expires = command.expires // 1_000_000 or None
    return msgspec.json.encode({"id": command.id, "expires": expires, "args": command.args})


def _reply(reason: Any, topic: str) -> Reply:
    if isinstance(reason, str):
        return Reply("failed", error=f"nobody knows whether it arrived: {reason}")
    if reason.value == _NOBODY:
        return Reply("failed", error=f"nobody is subscribed to {topic}")
    if reason.is_failure:
        return Reply("failed", error=f"the broker does not take it on {topic}: {reason}")
    return Reply("ok", {"topic": topic})
