"""The running gateway as others see it: what it is made of, and what it says of itself."""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry

from gateway.broker import LanControl
from gateway.bus.bus import Bus
from gateway.core.contracts import About, Reading, boottime
from gateway.core.errors import Conflict, DecodeError, Throttled, Unavailable
from gateway.core.events import Event, StateSeen
from gateway.core.ids import device_filter
from gateway.core.topics import Topics
from gateway.io.sqlite.database import Database
from gateway.runtime import glance
from gateway.runtime.alerting import Alerting
from gateway.runtime.clock import Clock
from gateway.runtime.commanding import Commanding
from gateway.runtime.delivery import Delivery
from gateway.runtime.health_history import points as health_points
from gateway.runtime.intake import Intake
from gateway.runtime.letters import Letters
from gateway.runtime.overview import Looks, overview
from gateway.runtime.twinning import Twinning
from gateway.stages.health import Health
from gateway.stages.profiling import Profiler
from gateway.store.abouts import described
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import Device, Devices
from gateway.store.exporting import Export, Selection
from gateway.store.health import HealthHistory
from gateway.store.history import History
from gateway.store.importing import Import
from gateway.store.importing import Options as ImportOptions

if TYPE_CHECKING:
    from gateway.runtime.managing import Managing

log = logging.getLogger(__name__)

EXPORTS = 16
"""Exports at a time; each takes a megabyte or two of memory while its reader is slow."""


class Reloading(Protocol):
    """Whoever reads the configuration again."""

    async def reload(self, confirm: float | None = None) -> dict[str, Any]: ...
    async def keep(self) -> dict[str, Any]: ...
    def status(self) -> dict[str, Any]: ...


@dataclass(slots=True)
class House:
    """Every part of one running gateway. Made by the app; read by the faces."""

    topics: Topics
    clock: Clock
    bus: Bus
    devices_: Devices
    history: History
    dead_letters: DeadLetters
    health_: Health
    health_log: HealthHistory
    profiler: Profiler
    registry: CollectorRegistry
    broker: Callable[[], dict[str, Any]]
    lan: LanControl | None = None
    limits_: dict[str, int] = field(default_factory=dict)
    intakes: dict[str, Intake] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    started: int = field(default_factory=boottime)
    starting: set[str] = field(default_factory=set)
    reloading: Reloading | None = None
    alerting: Alerting | None = None
    commanding: Commanding | None = None
    managing: "Managing | None" = None
    twinning: Twinning | None = None
    stores: Sequence[Database] = ()
    looks: Looks = field(default_factory=deque)
    imports: int = 0
    exports: int = 0

    def ready(self) -> tuple[bool, list[str]]:
        """Whether data is accepted, and if not, why."""
        reasons = [f"{part} is starting" for part in sorted(self.starting)]
        reasons += [
            f"device {name} is connecting"
            for name, intake in self.intakes.items()
            if intake.failing == "connecting"
        ]
        if self.bus.journal.trouble:
            reasons.append(f"the journal's disk refuses: {self.bus.journal.trouble}")
        return not reasons, reasons

    def status(self) -> dict[str, Any]:
        """Everything at a glance."""
        return glance.status(self)

    def limits(self) -> dict[str, Any]:
        """Each limit and how much of it is used."""
        return glance.limits(self)

    def ledger(self) -> dict[str, Any]:
        """What came in and what became of it."""
        return glance.ledger(self)

    def sources(self) -> list[dict[str, Any]]:
        """The configured sources."""
        return glance.sources(self)

    def driver(self, source: str) -> object:
        """The driver of a source. Raises LookupError."""
        if source not in self.intakes:
            raise LookupError(f'no source "{source}"')
        return self.intakes[source].device

    def bridges(self) -> list[dict[str, Any]]:
        """The configured bridges."""
        return [delivery.as_dict() for delivery in self.deliveries.values()]

    def delivery(self, name: str) -> Delivery:
        """One bridge at work. Raises LookupError."""
        if name not in self.deliveries:
            known = ", ".join(self.deliveries) or "none"
            raise LookupError(f'no bridge "{name}"; there are {known}')
        return self.deliveries[name]

    async def pause(self, bridge: str) -> dict[str, Any]:
        """Let a bridge send nothing until it is resumed. Raises LookupError."""
        await self.delivery(bridge).pause()
        return self.delivery(bridge).as_dict()

    async def resume(self, bridge: str) -> dict[str, Any]:
        """Let a bridge send again. Raises LookupError."""
        await self.delivery(bridge).resume()
        return self.delivery(bridge).as_dict()

    async def replay(self, bridge: str, start: int, end: int, devices: str) -> dict[str, Any]:
        """Let a bridge send [start, end), ns, again. Raises LookupError, Conflict, ValueError."""
        return await self.delivery(bridge).replay(start, end, devices)

    async def stop_replay(self, bridge: str) -> dict[str, Any]:
        """End a bridge's replay. Raises LookupError, Conflict."""
        return await self.delivery(bridge).stop_replay()

    def errors(self, bridge: str) -> dict[str, Any]:
        """What went wrong with a bridge in the last day. Raises LookupError."""
        return self.delivery(bridge).retry.troubles.history()

    async def letters(self, name: str | None, limit: int, before: int) -> dict[str, Any]:
        """The dead letters of a bridge or source, or all. Raises LookupError."""
        return await self._letters.show(name, limit, before)

    async def retry(self, name: str, ids: Sequence[int], after: int) -> dict[str, Any]:
        """Try dead letters of a bridge or source again. Raises LookupError, Conflict,
        Unavailable."""
        return await self._letters.retry(name, ids, after)

    @property
    def _letters(self) -> Letters:
        return Letters(self.dead_letters, self.intakes, self.deliveries)

    def devices(self) -> list[dict[str, Any]]:
        """Every known device."""
        return [self._device(device.id) for device in self.devices_.list()]

    def device(self, device: str) -> dict[str, Any]:
        """One device. Raises LookupError."""
        return self._device(device)

    def _device(self, device: str) -> dict[str, Any]:
        part = self.health_.devices.get(device)
        found = self.devices_.get(device)
        known = found.as_dict() | described(self.devices_.abouts.get(device), found.told)
        known["silent_after"] = self._silent_after(found)
        health = part.as_dict() if part is not None else {"level": "UNKNOWN", "score": 0}
        about = self.about(device)
        told = {"about": asdict(about)} if about is not None else {}
        return {**known, "units": self.units(device), **told, "health": health}

    def _silent_after(self, device: Device) -> float | None:
        """After how long without a message it is silent (s), by its rhythm; None before it has
        spoken in this run or one whose rhythm is known."""
        rule = self.health_.rules.silence
        if not device.count and device.rhythm is None:
            return None
        return round(max(rule.at_least, device.silent_after(rule.missed, rule.unknown)), 1)

    def units(self, device: str) -> Mapping[str, str]:
        """Units of a device by metric, as far as its codec knows them. Raises LookupError."""
        intake = self.intakes.get(self.devices_.get(device).source)
        about = self.about(device)
        told = about.units if about is not None else {}
        return {**told, **intake.decoder.units(device)} if intake is not None else {}

    def about(self, device: str) -> About | None:
        """What a device told of itself to a codec that listens to that. Raises LookupError."""
        known = self.devices_.get(device)
        intake = self.intakes.get(known.source)
        return intake.decoder.about(known.original) if intake is not None else None

    async def reload(self, confirm: float | None = None) -> dict[str, Any]:
        """Read the configuration again and go over to it; with `confirm`, for so many seconds
        unless it is kept. What was wrong is in the answer."""
        if self.reloading is None:
            raise LookupError("this gateway was not started from a configuration")
        return await self.reloading.reload(confirm)

    async def keep(self) -> dict[str, Any]:
        """Keep the configuration that is on trial. Raises LookupError if none is."""
        if self.reloading is None:
            raise LookupError("this gateway was not started from a configuration")
        return await self.reloading.keep()

    async def series(self, device: str | None = None) -> list[dict[str, Any]]:
        """Which metrics of which devices history knows."""
        return await self.history.series(device)

    async def query(
        self,
        device: str,
        metric: str,
        start: int,
        end: int,
        points: int | None = None,
        aggregate: str | None = None,
    ) -> list[tuple[int, Any]]:
        """Points [ms, value] of one series between two times (ns). Raises LookupError."""
        return await self.history.query(device, metric, start, end, points, aggregate)

    @contextmanager
    def exporting(self, chosen: Selection) -> Iterator[Export]:
        """History on its way out, a few at a time. Raises LookupError, Unavailable."""
        self._history_is_there()
        if self.exports >= EXPORTS:
            raise Throttled(f"{EXPORTS} exports are running", after=30, fix="wait for one to end")
        self.exports += 1
        try:
            yield Export(self.history, chosen)
        finally:
            self.exports -= 1

    @contextmanager
    def importing(self, options: ImportOptions) -> Iterator[Import]:
        """A way into history, one at a time. Raises Conflict, Unavailable."""
        if self.imports:
            raise Conflict("something is being imported already", fix="wait until it is done")
        self._history_is_there()
        self.imports += 1
        try:
            yield Import(self.history, self.devices_, options)
        finally:
            self.imports -= 1

    def _history_is_there(self) -> None:
        if "history" in self.starting:
            raise Unavailable("history is still starting", fix="try again in a moment")

    def health(self) -> dict[str, Any]:
        """The whole's health and that of each part, with reasons."""
        parts = {name: part.as_dict() for name, part in self.health_.components.items()}
        return {**self.health_.summary(), "parts": parts}

    async def health_history(
        self, part: str, start: int, end: int, points: int | None = None
    ) -> list[Any]:
        """How a part was between two times (ns): [ms, score or None, level, why]. Raises
        LookupError."""
        return await health_points(self.health_, self.health_log, part, start, end, points)

    def performance(self, window: str = "1m") -> dict[str, Any]:
        """Rates and durations per stage over a window, what limits, and the ledger. Raises
        ValueError for a window there is not."""
        now = time.time_ns() // 1_000_000
        return {"time": now, **self.profiler.summary(window), "ledger": self.ledger()}

    def overview(self, sort: str, text: str, limit: int, offset: int) -> dict[str, Any]:
        """What one screen shows, with `limit` devices from `offset` on."""
        return overview(self, self.looks, sort, text, limit, offset)

    async def tail(self, pattern: str = "*") -> AsyncIterator[list[Reading]]:
        """Readings of devices that match a shell pattern, as they arrive."""
        wanted = device_filter([pattern])
        with self.bus.live() as live:
            async with aclosing(live.items()) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, Event):
                        continue
                    readings = [reading for reading in item if wanted(reading.device)]
                    if readings:
                        yield readings

    def seed(self, event: StateSeen) -> None:
        """Take a device's last state from a retained message of source `event.name`."""
        intake = self.intakes.get(event.name)
        if intake is None:
            return
        try:
            device, values = intake.decoder.state(event.topic, event.payload)
        except DecodeError as error:
            log.debug("%s: a retained message tells no state: %s", event.topic, error)
            return
        if values:
            self.devices_.seed(device, values)
