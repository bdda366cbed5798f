"""What the gateway says of itself on MQTT: health, presence of devices, performance."""

import asyncio
import sqlite3
import time
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from gateway.core.contracts import Several, TopicMapped, Watched
from gateway.core.events import DeadLettered, Event, StateSeen
from gateway.core.topics import Topics
from gateway.io.polling import second
from gateway.runtime.house import House
from gateway.runtime.listening import Around, Attached, Listening
from gateway.stages.health import EVERY, Component, DeviceProbe, Level
from gateway.store.devices import Device

REPEAT = 20
"""Everything retained is published again after so many seconds. 30 are promised: a broker that was
killed may be away for 10, and what is due meanwhile waits for it."""
_PERFORMANCE = 5.0


class Publisher(Protocol):
    """What reporting needs of the announcer."""

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        """Publish as JSON; never blocks, never raises."""
        ...

    def clear(self, topic: str) -> None:
        """Take back what was retained."""
        ...


class Report:
    """Evaluates health every second and publishes changes at once, everything within 30 s: the
    summary and the parts of the gateway together, of the devices an equal part each second."""

    def __init__(self, house: House, publisher: Publisher, topics: Topics) -> None:
        self._house = house
        self._publisher = publisher
        self._topics = topics
        self._presence: dict[str, tuple[str, int]] = {}
        self._around = Around(house.health_.rules, self._saved, self._failing, self._gone)
        self._turns: list[list[Component]] = [[] for _ in range(REPEAT)]
        self._known = self._departed = 0
        self._left: set[str] = set()  # devices that have told, or whose last will has

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_back())
            group.create_task(self._health())
            group.create_task(self._performance())
            group.create_task(self._events())

    async def _take_back(self) -> None:
        """Bridges and sources of an earlier configuration: what the broker has retained of them
        would say for ever that they are well."""
        with suppress(sqlite3.Error, OSError):  # a database that is damaged knows of none
            before = await self._house.health_log.parts()
            for part in before - self._house.health_.components.keys():
                kind, _, name = part.partition("/")
                if kind in ("bridge", "stage"):
                    self._publisher.clear(self._topics("health", kind, name))

    async def _health(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        await second()
        begun = loop.time()
        while True:
            self._second(turn % REPEAT)
            turn += 1
            # By the clock, so that what the work takes does not make the repeats late.
            begun = max(begun + EVERY, loop.time() - REPEAT / 2)
            await asyncio.sleep(max(begun - loop.time(), 0.0))

    def _meet(self) -> None:
        """Watch devices that are new. From the beginning again where one has gone."""
        devices, health = self._house.devices_, self._house.health_
        if self._departed != devices.departed:
            self._departed, self._known = devices.departed, 0
            self._turns = [[] for _ in range(REPEAT)]
            for gone in [each for each in self._presence if not devices.knows(each)]:
                del self._presence[gone]
        if self._known == len(devices):
            return
        for device in devices.list()[self._known :]:
            self._known += 1
            if device.id in devices.abouts.ignored:
                continue
            if device.id not in health.devices:
                self._presence.pop(device.id, None)  # of one that was called so before
                health.watch(device.id, self._probe(device))
                self._house.health_log.unknown(f"device/{device.id}")
            self._turns[self._known % REPEAT].append(health.devices[device.id])

    def _probe(self, device: Device) -> DeviceProbe:
        intake = self._house.intakes.get(device.source)
        if intake is not None and isinstance(intake.device, Several):
            return Attached(device, replace(self._around, failing=partial(self._away, device)))
        if intake is None or device.original != device.source:
            return Listening(device, self._around)
        source = intake.device
        tells = isinstance(source, Watched) and not isinstance(source, TopicMapped)
        return Attached(device, self._around) if tells else Listening(device, self._around)

    def _saved(self) -> float:
        return self._house.devices_.every

    def _failing(self, source: str) -> str:
        intake = self._house.intakes.get(source)
        return intake.failing if intake is not None else ""

    def _away(self, device: Device, source: str) -> str:
        """Why nothing comes from one of a source's several devices, or ""."""
        intake = self._house.intakes.get(source)
        several = intake.device if intake is not None else None
        own = several.trouble_of(device.original) if isinstance(several, Several) else ""
        return self._failing(source) or own

    def _gone(self, device: Device) -> bool:
        intake = self._house.intakes.get(device.source)
        about = intake.decoder.about(device.original) if intake is not None else None
        return about is not None and about.online is False

    def _hurry(self) -> None:
        """Have those looked at that have told since the last second that they are gone."""
        devices, before = self._house.devices_, self._left
        found = [
            devices.find(original, name)
            for name, intake in self._house.intakes.items()
            for original in intake.decoder.gone()
        ]
        self._left = {device for device in found if device is not None}
        for device in self._left - before:
            self._house.health_.hurry(device)

    def _second(self, turn: int) -> None:
        """What is to be done each second; `turn`: whose turn it is to be repeated."""
        self._meet()
        self._hurry()
        health = self._house.health_
        changed = health.evaluate()
        # An order that lasts, and each of them once.
        due = {part.path: part for part in changed}
        for device in self._turns[turn]:
            if device.path not in due:
                due[device.path] = device
                if health.look(device):
                    changed.append(device)
        if not turn:
            due.update(health.components)
        self._remember(changed)
        for part in due.values():
            self._publish(part)
        if changed or not turn:
            self._publisher.publish(self._topics.summary, health.summary(), retain=True)

    def _remember(self, changed: list[Component]) -> None:
        """In health history; of a device only when it is not well."""
        log = self._house.health_log
        for part in (*changed, self._house.health_.whole):
            well = part.level is Level.EXCELLENT and not part.reasons
            if part.level is Level.UNKNOWN and part.kind == "device":
                log.unknown(part.path)
            elif part.level is Level.UNKNOWN or (part.kind == "device" and well):
                log.end(part.path)
            else:
                why = part.reasons[0].text if part.reasons else ""
                log.note(part.path, part.score, part.level.value, why)
        log.settle()

    def _publish(self, part: Component) -> None:
        if part.level is Level.UNKNOWN and part.kind == "device":
            return  # nothing has been heard of it: there is nothing to say
        topic = self._topics("health", part.kind, part.name)
        self._publisher.publish(topic, part.as_dict(), retain=True)
        if part.kind == "device":
            self._publish_presence(part)

    def _publish_presence(self, part: Component) -> None:
        stale = next((each for each in part.reasons if each.metric == "staleness"), None)
        state, evidence = "online", "readings arrive"
        if stale is not None:
            state = "offline" if part.level in (Level.FAILED, Level.CRITICAL) else "stale"
            evidence = stale.text
        known = self._presence.get(part.name)
        if known is None or known[0] != state:
            known = self._presence[part.name] = (state, time.time_ns() // 1_000_000)
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
