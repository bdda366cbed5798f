"""What the gateway says of itself on MQTT: health, presence of devices, performance."""

import asyncio
import time
from contextlib import aclosing
from typing import Any, Protocol

from gateway.core.events import DeadLettered, Event, StateSeen
from gateway.core.topics import Topics
from gateway.runtime import probes
from gateway.runtime.house import House
from gateway.stages.health import Component, Level

_EVALUATE = 1.0
_REPEAT = 30.0
_PERFORMANCE = 5.0


class Publisher(Protocol):
    """What reporting needs of the announcer."""

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        """Publish as JSON; never blocks, never raises."""
        ...


class Report:
    """Evaluates health every second and publishes changes at once, everything every 30 s."""

    def __init__(self, house: House, publisher: Publisher, topics: Topics) -> None:
        self._house = house
        self._publisher = publisher
        self._topics = topics
        self._presence: dict[str, tuple[str, int]] = {}

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._health())
            group.create_task(self._performance())
            group.create_task(self._events())

    async def _health(self) -> None:
        health = self._house.health_
        repeated = 0.0
        while True:
            for device in self._house.devices_.list():
                if device.id in health.devices:
                    continue
                health.watch(device.id, probes.Silence(device, self._house.devices_))
            changed = health.evaluate()
            now = time.monotonic()
            if now - repeated >= _REPEAT:
                repeated = now
                changed = [*health.components.values(), *health.devices.values()]
            for part in changed:
                self._publish(part)
            if changed:
                self._publisher.publish(self._topics.summary, health.summary(), retain=True)
            await asyncio.sleep(_EVALUATE)

    def _publish(self, part: Component) -> None:
        if part.level is Level.UNKNOWN and part.kind == "device":
            return  # nothing has been heard of it: there is nothing to say
        topic = self._topics("health", part.kind, part.name)
        self._publisher.publish(topic, part.as_dict(), retain=True)
        if part.name in self._house.health_.devices and part.kind == "device":
            self._publish_presence(part)

    def _publish_presence(self, part: Component) -> None:
        stale = any(reason.metric == "staleness" for reason in part.reasons)
        state = "online"
        if stale:
            state = "offline" if part.level in (Level.FAILED, Level.CRITICAL) else "stale"
        known = self._presence.get(part.name)
        if known is None or known[0] != state:
            known = self._presence[part.name] = (state, time.time_ns() // 1_000_000)
        evidence = part.reasons[0].text if stale else "readings arrive"
        self._publisher.publish(
            self._topics("status", part.name, "presence"),
            {"state": state, "since": known[1], "evidence": evidence},
            retain=True,
        )

    async def _performance(self) -> None:
        while True:
            await asyncio.sleep(_PERFORMANCE)
            topic = self._topics("performance", "gateway", "summary")
            self._publisher.publish(topic, self._house.performance(), qos=0)

    async def _events(self) -> None:
        """Notices of dead letters; last states told by retained messages."""
        with self._house.bus.live(wants=lambda item: isinstance(item, Event)) as live:
            async with aclosing(live.items()) as items:  # type: ignore[type-var]
                async for item in items:
                    assert isinstance(item, Event), "it asked for nothing else"
                    self._event(item)

    def _event(self, event: Event) -> None:
        if isinstance(event, DeadLettered):
            stage = "decode" if event.kind == "device" else "deliver"
            payload = {
                "time": event.at // 1_000_000,
                "name": event.name,
                "reason": event.reason,
                "count": event.count,
            }
            self._publisher.publish(self._topics("dlq", stage, event.reason), payload)
        elif isinstance(event, StateSeen):
            self._house.seed(event)
