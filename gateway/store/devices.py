"""The device registry: ids, who was seen when, what they said last."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from gateway.core.contracts import Reading, Value
from gateway.core.errors import DecodeError
from gateway.core.ids import MAX_LENGTH, RESERVED, slug
from gateway.io.sqlite import Database, statements

log = logging.getLogger(__name__)

_SQL = statements((files(__package__) / "devices.sql").read_text())
_SAVE_EVERY = 10.0


@dataclass(slots=True)
class Device:
    """One device. original: its name before it became an id. Times in ns; last_seen 0: never.

    last: its last reading, or what a retained message told of its last state. count: readings
    since this start, the first of them at `began`.
    """

    id: str
    original: str
    source: str
    first_seen: int
    last_seen: int = 0
    readings: int = 0
    last: dict[str, Value] = field(default_factory=dict)
    last_time: int = 0
    metrics: set[str] = field(default_factory=set)
    shapes: set[tuple[str, ...]] = field(default_factory=set)
    began: int = 0
    count: int = 0

    @property
    def interval(self) -> float:
        """Its usual time between readings (s), as seen since this start; 0 while unknown."""
        if self.count < 3:
            return 0.0
        return (self.last_seen - self.began) / 1e9 / (self.count - 1)

    def as_dict(self) -> dict[str, Any]:
        """For the API; times in epoch ms."""
        return {
            "id": self.id,
            "original": self.original,
            "source": self.source,
            "first_seen": self.first_seen // 1_000_000,
            "last_seen": self.last_seen // 1_000_000 or None,
            "interval": round(self.interval, 3) or None,
            "readings": self.readings,
            "metrics": sorted(self.metrics),
            "last": {"time": self.last_time // 1_000_000 or None, "values": self.last},
        }


class Devices:
    """Every device the gateway has met.

    limit: how many it may know; series: how many metrics each of them may have.
    """

    def __init__(self, database: Database, limit: int = 10_000, series: int = 1_000) -> None:
        self._database = database
        self._limit = limit
        self._series = series
        self._devices: dict[str, Device] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._changed: set[str] = set()
        for row in database.read_now(lambda c: c.execute(_SQL["all"]).fetchall()):
            device = Device(*row)
            self._devices[device.id] = device
            self._ids[device.source, device.original] = device.id

    def adjust(self, limit: int, series: int) -> None:
        """Go by other limits from now on; whoever is known stays."""
        self._limit = limit
        self._series = series

    def id_of(self, original: str, source: str) -> str:
        """The id of a device of `source`, the same for ever; a new one is registered.

        Raises DecodeError with reason device (nothing of the name can be kept) or
        too_many_devices.
        """
        known = self._ids.get((source, original))
        return known if known is not None else self._register(original, source)

    def _register(self, original: str, source: str) -> str:
        base = slug(original)
        if not base:
            raise DecodeError(f'"{original}" leaves no id of [a-z0-9_-]', reason="device")
        if len(self._devices) >= self._limit:
            raise DecodeError(
                f'device "{original}" is one too many', reason="too_many_devices",
                fix="raise limits.devices",
            )  # fmt: skip
        device, number = base, 2
        while device in self._devices or device in RESERVED:
            device = f"{base[: MAX_LENGTH - 6]}-{number}"
            number += 1
        self._devices[device] = Device(device, original, source, time.time_ns())
        self._ids[source, original] = device
        self._changed.add(device)
        return device

    def admit(self, device: str, values: dict[str, Value]) -> dict[str, Value]:
        """`values`, if the device may have these metrics. Raises DecodeError (too_many_series)."""
        known = self._devices[device]
        names = tuple(values)
        if names in known.shapes:
            return values
        metrics = known.metrics.union(names)
        if len(metrics) > self._series:
            raise DecodeError(
                f"{device} has {len(known.metrics)} metrics; these are too many more",
                reason="too_many_series",
                fix="raise limits.series",
            )
        known.metrics = metrics
        if len(known.shapes) < self._series:
            known.shapes.add(names)
        return values

    def seen(self, readings: Sequence[Reading]) -> None:
        """Readings have arrived, now."""
        now = time.time_ns()
        for reading in readings:
            device = self._devices[reading.device]
            device.last_seen = now
            device.readings += 1
            device.count += 1
            if device.count == 1:
                device.began = now
            if reading.time >= device.last_time:
                device.last_time = reading.time
                device.last = reading.values
        self._changed.update({reading.device for reading in readings})

    def seed(self, device: str, values: dict[str, Value]) -> None:
        """What a retained message told of a device's last state; never a new reading."""
        known = self._devices[device]
        if not known.last:
            known.last = values

    def list(self) -> "list[Device]":
        """Every device."""
        return list(self._devices.values())

    def __len__(self) -> int:
        return len(self._devices)

    def get(self, device: str) -> Device:
        """One device. Raises LookupError."""
        known = self._devices.get(device)
        if known is None:
            raise LookupError(f'no device "{device}"')
        return known

    async def run(self) -> None:
        """Save what changed every few seconds; a crash costs counts of that time, no ids."""
        failing = False
        while True:
            await asyncio.sleep(_SAVE_EVERY)
            try:
                await self.save()
                failing = False
            except sqlite3.Error as error:
                if not failing:
                    log.error("devices: cannot be saved: %s", error)
                failing = True

    async def save(self) -> None:
        """Save what changed. Raises sqlite3.Error."""
        changed, self._changed = self._changed, set()
        rows = [
            (d.id, d.original, d.source, d.first_seen, d.last_seen, d.readings)
            for d in map(self._devices.__getitem__, changed)
        ]
        try:
            await self._database.write(lambda c: c.executemany(_SQL["save"], rows))
        except sqlite3.Error:
            self._changed |= changed
            raise
