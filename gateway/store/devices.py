"""The device registry: ids, who was seen when, what they said last."""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence

from gateway.core.contracts import Reading, Value
from gateway.core.errors import DecodeError
from gateway.core.ids import MAX_LENGTH, RESERVED, slug
from gateway.io.sqlite.database import Database
from gateway.store.abouts import Abouts
from gateway.store.admission import Admission
from gateway.store.checksums import checksum
from gateway.store.device import Device, paused
from gateway.store.device_rows import RESCUE, SQL, read, row_of, without
from gateway.store.lasts import Lasts
from gateway.store.names import Names, SourceNames
from gateway.store.names import save as save_names
from gateway.store.names import without as without_names
from gateway.store.rhythm import SHORT

log = logging.getLogger(__name__)

SAVE_EVERY = 60.0
"""How often counts and times of devices are saved (s); a write wears a card by some 10 kB."""
_RETRY = 1.0
_WEIGHT = 0.1  # of the last reading in a device's latency
IMPORTED = "import"
"""The source of devices of which there is imported history only."""

__all__ = ["IMPORTED", "RESCUE", "SAVE_EVERY", "Device", "Devices"]


class Devices:
    """Every device the gateway has met.

    database: where they are kept. limit: how many it may know; series: how many metrics each of
    them may have; total_series: all of them together. trouble: why nothing can be saved at the
    moment, or "". every: how often what is counted is saved (s). abouts: what people say of them.
    admission: which metrics they may have. names: who has a name that several share.
    departed: grows when a device goes, or is wanted or unwanted; observers: called then.
    """

    def __init__(
        self,
        database: Database,
        limit: int = 10_000,
        series: int = 1_000,
        total_series: int = 100_000,
    ) -> None:
        self.database = database
        self.every = SAVE_EVERY
        self._limit = limit
        self.admission = Admission(series, total_series)
        self._numbers: dict[str, int] = {}  # a base that was taken -> the number to try next
        self._devices: dict[str, Device] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._changed: set[str] = set()
        self._unsaved: set[str] = set()
        self.trouble = ""
        self.departed = 0
        self.observers: deque[Callable[[], None]] = deque()
        self.abouts = Abouts(database)
        self.lasts = Lasts(database)
        for device in database.load(read):
            self._devices[device.id] = device
            self._ids[device.source, device.original] = device.id
        for source, original, into in database.load(lambda c: c.execute(SQL["aliases"]).fetchall()):
            if into in self._devices:
                self._ids.setdefault((source, original), into)
        self.lasts.restore(self._devices)
        self.names = Names(database, self.find)
        self._generation = database.generation

    def adjust(self, limit: int, series: int, total_series: int) -> None:
        """Go by other limits from now on; whoever is known stays."""
        self._limit = limit
        self.admission.adjust(series, total_series)

    def id_of(self, original: str, source: str) -> str:
        """The id of a device of `source`, the same for ever; a new one is registered.

        Raises DecodeError with reason device (nothing of the name can be kept) or
        too_many_devices.
        """
        known = self._ids.get((source, original))
        return known if known is not None else self._register(original, source)

    def find(self, original: str, source: str) -> str | None:
        """The id of a device of `source`; None where it is not known."""
        return self._ids.get((source, original))

    def names_of(self, source: str) -> SourceNames:
        """Who has a name that several devices of a source share."""
        return SourceNames(self.names, source, self.find)

    def would_be(self, original: str) -> str:
        """The id of a device with this name, if it were registered now and its like is not
        taken."""
        return slug(original)

    def _register(self, original: str, source: str) -> str:
        base = slug(original)
        if not base:
            raise DecodeError(f'"{original}" leaves no id of [a-z0-9_-]', reason="device")
        if source != IMPORTED:
            known = self._devices.get(self._ids.get((IMPORTED, original), base))
            if known is not None and known.source == IMPORTED:
                return self._adopt(known, original, source)
        if len(self._devices) >= self._limit:
            raise DecodeError(
                f'device "{original}" is one too many', reason="too_many_devices",
                fix="raise limits.devices",
            )  # fmt: skip
        device = base
        if device in self._devices or device in RESERVED:
            short = base[: MAX_LENGTH - 6]
            # Not from 2 each time: thousands of names that give one id would take minutes.
            number = self._numbers.get(short, 2)
            while (device := f"{short}-{number}") in self._devices:
                number += 1
            self._numbers[short] = number + 1
        self._devices[device] = Device(device, original, source, time.time_ns())
        self._ids[source, original] = device
        self._changed.add(device)
        self._unsaved.add(device)
        return device

    def _adopt(self, known: Device, original: str, source: str) -> str:
        """The device whose history was imported has come itself: it is the same one."""
        known.original, known.source = original, source
        self._ids[source, original] = known.id
        self._changed.add(known.id)
        self._unsaved.add(known.id)
        return known.id

    @property
    def settled(self) -> bool:
        """Whether every id that was given out is on the disk."""
        return not self._unsaved

    async def settle(self) -> None:
        """Wait until it is. Before a reading that uses a new id is journalled: after a kill two
        names that give one id could otherwise be told apart the other way round."""
        while self._unsaved:
            if not await self._saved():
                await asyncio.sleep(_RETRY)

    def admit(self, device: str, values: dict[str, Value]) -> dict[str, Value]:
        """`values`, if the device may have these metrics. Raises DecodeError (too_many_series)."""
        return self.admission.admit(self._devices[device], values)

    def delayed(self, device: str, seconds: float) -> None:
        """A reading came so long after the time that the device itself gave it."""
        known = self._devices.get(device)
        if known is not None:
            before = known.latency if known.latency is not None else seconds
            known.latency = before + _WEIGHT * (seconds - before)

    def refused(self, device: str, count: int) -> None:
        """So many messages of a device, or of whoever is none, were over its rate."""
        known = self._devices.get(device)
        if known is not None:
            known.refused += count

    def left_out(self, device: str, count: int) -> None:
        """So many messages of a device were dropped, because it is ignored."""
        known = self._devices.get(device)
        if known is not None:
            known.left_out += count
            known.last_seen = time.time_ns()

    def seen(self, readings: Sequence[Reading]) -> None:
        """Readings have arrived, now."""
        now, moment = time.time_ns(), time.monotonic()
        for reading in readings:
            device = self._devices.get(reading.device)
            if device is None:
                continue  # it left a moment ago
            if moment - device.heard > SHORT:
                paused(device, moment)
            device.last_seen = now
            device.heard = moment
            device.readings += 1
            device.count += 1
            # A last time ahead of now is from before the clock was set back.
            if reading.time >= device.last_time or device.last_time > now:
                device.last_time = reading.time
                # Of one that says one thing at a time, what it said last of each.
                device.last = device.last | reading.values if device.varies else reading.values
        self._changed.update({reading.device for reading in readings} & self._devices.keys())

    def seed(self, device: str, values: dict[str, Value]) -> None:
        """What a retained message told of a device's last state; never a new reading."""
        known = self._devices[device]
        if not known.count:  # what it had said when we ended may be older
            known.last = known.last | values

    def list(self) -> "list[Device]":
        """Every device."""
        return list(self._devices.values())

    def __len__(self) -> int:
        return len(self._devices)

    def knows(self, device: str) -> bool:
        """Whether there is such a device."""
        return device in self._devices

    def get(self, device: str) -> Device:
        """One device. Raises LookupError."""
        known = self._devices.get(device)
        if known is None:
            raise LookupError(f'no device "{device}"')
        return known

    async def forget(self, device: str) -> None:
        """It is no more, and is a new one if it speaks again. Raises LookupError, sqlite3.Error,
        OSError."""
        gone, keys = self.get(device), self._leave(device)
        names = self.names.leave(keys)

        def write(connection: sqlite3.Connection) -> None:
            without(connection, device)
            without_names(connection, keys)

        try:
            await self.database.write(write)
            await self.abouts.forget([device])
        except BaseException:
            self._back(gone, keys)
            self.names.back(names)
            raise

    async def merge(self, old: str, into: str) -> None:
        """Whatever comes of `old` is `into`'s from now on; `old` is no more. Raises LookupError,
        ValueError, sqlite3.Error, OSError."""
        gone, stays = self.get(old), self.get(into)
        if gone is stays:
            raise ValueError(f"{old} cannot be merged into itself")
        lives = gone if gone.last_seen > stays.last_seen else stays
        after = (into, lives.original, lives.source, min(gone.first_seen, stays.first_seen))
        seen, count = max(gone.last_seen, stays.last_seen), gone.readings + stays.readings
        row = (*after, seen, count, checksum(*after))

        def write(connection: sqlite3.Connection) -> None:
            without(connection, old)
            connection.executemany(SQL["alias"], [(*key, into) for key in keys])
            connection.execute(SQL["save"], row)

        await self.settle()
        keys = [*self._leave(old), (stays.source, stays.original)]
        self._ids.update(dict.fromkeys(keys, into))
        try:
            await self.database.write(write)
            await self.abouts.forget([old])
        except BaseException:
            self._back(gone, keys[:-1])
            raise
        stays.original, stays.source, stays.first_seen = after[1], after[2], after[3]
        if lives is gone:
            stays.last, stays.last_time, stays.last_seen = gone.last, gone.last_time, seen
            stays.rhythm, stays.began, stays.heard = gone.rhythm, gone.began, gone.heard
            stays.count, stays.latency = gone.count, gone.latency
        stays.readings += gone.readings
        self.admission.joined(stays, gone)
        self._changed.add(into)

    def _leave(self, device: str) -> Sequence[tuple[str, str]]:
        """At once, so that nothing more is saved of it; the names it came under."""
        gone = self._devices.pop(device)
        self.admission.left(gone)
        keys = [key for key, known in self._ids.items() if known == device]
        for key in keys:
            del self._ids[key]
        self._changed.discard(device)
        self._unsaved.discard(device)
        self.changed()
        return keys

    def _back(self, gone: Device, keys: Sequence[tuple[str, str]]) -> None:
        """The disk refused: it is still there."""
        self._devices.setdefault(gone.id, gone)
        self._ids.update(dict.fromkeys(keys, gone.id))
        self.admission.back(gone)
        self.changed()

    def changed(self) -> None:
        """Devices have gone, or are wanted or unwanted: everybody looks anew."""
        self.departed += 1
        for look in self.observers:
            look()

    async def _save_names(self) -> None:
        """What people said of devices, and every name that they came under."""
        await self.abouts.again()
        aliases = [(*key, device) for key, device in self._ids.items()]
        await self.database.write(lambda c: c.executemany(SQL["alias"], aliases))

    async def run(self) -> None:
        """Save what changed now and then; a crash costs counts of that time, no ids."""
        while True:
            await asyncio.sleep(self.every)
            await self._saved()
            if self.lasts.due:
                await self._saved_lasts()

    async def close(self) -> None:
        """Save what can be saved; the rest is counts."""
        await self._saved()
        await self._saved_lasts()

    async def _saved_lasts(self) -> None:
        try:
            await self.lasts.save(self._devices)
        except (sqlite3.Error, OSError) as error:
            log.warning("devices: what they said last cannot be kept: %s", error)

    async def _saved(self) -> bool:
        try:
            await self.save()
        except (sqlite3.Error, OSError) as error:
            if not self.trouble:
                log.error("devices: cannot be saved: %s", error)
            self.trouble = str(error)
            return False
        if self.trouble:
            log.warning("devices: saved again")
        self.trouble = ""
        return True

    async def save(self) -> None:
        """Save what changed. Raises sqlite3.Error, OSError."""
        if self._generation != self.database.generation:
            # The file is a new one, and may lack some of what the old one had.
            generation = self.database.generation
            self._changed.update(self._devices)
            self.names.again()
            await self._save_names()
            self._generation = generation
        # Who has left meanwhile is not to come back.
        changed, self._changed = self._changed & self._devices.keys(), set()
        unsaved = self._unsaved & changed
        rows = [row_of(self._devices[device]) for device in changed]
        names = self.names.changed()

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(SQL["save"], rows)
            save_names(connection, names)

        try:
            await self.database.write(write)
        except BaseException:
            self._changed |= changed & self._devices.keys()
            raise
        self.names.saved(names)
        self._unsaved -= unsaved
