"""The pumps that belong to no single room: into history, out on MQTT, ready at last."""

import asyncio
import gc
import logging
from collections.abc import Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from gateway.bus.block import Block
from gateway.bus.live import Item
from gateway.bus.passages import passages
from gateway.bus.table import Table
from gateway.bus.times import base_of
from gateway.core.collector import keep
from gateway.core.contracts import Described, Device, Several, TopicMapped, Value
from gateway.core.events import Event
from gateway.runtime.announce import ReadingsAnnouncer
from gateway.runtime.house import House
from gateway.runtime.notify import getting_on, notify
from gateway.store.buffers import NOWHERE
from gateway.store.devices import IMPORTED, Devices
from gateway.store.history import History

log = logging.getLogger(__name__)

_DRAIN = 1.0  # how long readings on their way may take to be committed when we stop (s)


async def remember(house: House) -> None:
    """The pump from the journal into history; first what a crash took from its buffers. Where
    history's database had to be replaced, the journal is read again: it fills in what was lost."""
    history, bus = house.history, house.bus
    until = bus.journal.written  # not the head: what lay up to there may be lost
    progress = getting_on()
    while True:
        begin = history.position or bus.journal.start
        renewed = partial(_is_renewed, history, history.generation)
        # To the end first: where the journal was lost there is nothing to read, and then nothing
        # to wait for.
        for follow in (False, True):
            passing = passages(bus, begin, follow=follow, ended=renewed)
            async with aclosing(passing) as found:  # type: ignore[type-var]
                async for passage in found:
                    await history.room()
                    if renewed():
                        break
                    with house.profiler.measure("history:add", passage.end - passage.first):
                        _keep(history, passage)
                    begin = passage.end
                    if "history" in house.starting:
                        progress(f"reading {until - begin} readings again for history")
                    # A disk that refuses must not keep the gateway from being ready.
                    if history.failing:
                        house.starting.discard("history")
            if renewed():
                break
            house.starting.discard("history")


def _is_renewed(history: History, generation: int) -> bool:
    """Whether its database has been replaced since."""
    return history.generation != generation


def _keep(history: History, passage: Block | Table) -> None:
    if isinstance(passage, Table):
        history.add_table(passage)
        return
    stamp = passage.meta.stamp
    origin = NOWHERE if passage.settled else (stamp.boot, base_of(stamp))
    history.add(passage.first, passage.readings, origin)


class Own(dict[str, bool]):
    """Whether a device does not speak MQTT itself, so that we speak for it; by its id. sources:
    the drivers of such devices, by name; a driver that does not tell devices apart is one.
    told: those whose description has been published."""

    def __init__(self, registry: Devices, sources: Mapping[str, Device]) -> None:
        super().__init__()
        self.told: set[str] = set()
        self._registry = registry
        self._sources = sources
        self._drivers = {
            registry.id_of(name, name): device
            for name, device in sources.items()
            if not isinstance(device, TopicMapped)
        }

    def __missing__(self, device: str) -> bool:
        try:
            source = self._registry.get(device).source
        except LookupError:
            return False  # it was forgotten a moment ago
        found = source in self._sources
        if source != IMPORTED:  # that one may come itself some day
            self[device] = found
        return found

    def devices(self) -> set[str]:
        """All that are known by now."""
        return {device.id for device in self._registry.list() if self[device.id]}

    async def info(self, device: str) -> Mapping[str, Any]:
        """What a device is, as far as that is known."""
        with suppress(LookupError):
            found = await self._info(device, self._drivers.get(device))
            self._registry.get(device).told = found
            return found
        return {}

    async def _info(self, device: str, driver: Device | None) -> Mapping[str, Any]:
        if driver is not None:
            return await asyncio.to_thread(driver.info) if isinstance(driver, Described) else {}
        known = self._registry.get(device)
        source = self._sources.get(known.source)
        if source is not None and isinstance(source, Several):
            return await asyncio.to_thread(source.info_of, known.original)
        return {"source": known.source, "name": known.original}


async def announce(house: House, readings: ReadingsAnnouncer, own: Own) -> None:
    """Readings of devices that do not speak MQTT go out on MQTT."""
    told = own.told

    async def tell(device: str) -> None:
        told.add(device)
        if last := _last(house, device):
            readings.last(device, *last)
        if info := await own.info(device):
            units = house.units(device)
            readings.describe(device, {"units": units, **info} if units else info)

    for device in own.devices():
        await tell(device)

    def wants(item: Item) -> bool:
        return not isinstance(item, Event) and any(own[reading.device] for reading in item)

    with house.bus.live(wants=wants) as live:
        async with aclosing(live.items()) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Event):
                    continue
                ours = [reading for reading in item if own[reading.device]]
                for device in {reading.device for reading in ours} - told:
                    await tell(device)
                readings.take(ours)


def _last(house: House, device: str) -> tuple[int, dict[str, Value]] | None:
    """What a device said last before this start, and when (ns), if it has said nothing since."""
    with suppress(LookupError):
        known = house.devices_.get(device)
        if known.last and known.last_time and not known.count:
            return known.last_time, known.last
    return None


async def ready(house: House) -> None:
    """Tell the service manager once data is accepted."""
    while not house.ready()[0]:  # noqa: ASYNC110 - several parts decide
        await asyncio.sleep(0.02)
    gc.collect()  # what came and went while the journal was read again
    keep()
    notify("READY=1")
    log.info("ready: gateway %s", house.topics.gateway)


async def drain(house: House) -> None:
    """Let what sources had said be committed, so that it is not sent again."""
    try:
        async with asyncio.timeout(_DRAIN):
            house.bus.journal.hurry()
            await house.bus.room(1)
    except TimeoutError:
        log.info("some readings were not committed; their sources send them again")
