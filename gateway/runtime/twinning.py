"""Desired and reported state of devices, between whoever wants, the store and MQTT.

What is desired is on the disk before it is published, retained, on `desired/<device>/<key>`. What a
device publishes on `reported/<device>/<key>` is what it says it is.
"""

import asyncio
import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Protocol

from gateway.core.errors import Conflict, Unavailable
from gateway.core.topics import Topics
from gateway.store.twins import Entry, Kind, Place, Twins

log = logging.getLogger(__name__)

KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a key may be called: it is a level of topics."""
KEYS = 64
"""How many keys of each kind a device may have."""
LARGEST = 4_096
"""The most of a value (bytes of JSON)."""
DEEPEST = 64
"""How many lists and objects of a value may be in each other."""
_SAVE = 5.0  # how often what is reported is saved (s)


class Publisher(Protocol):
    """What twinning needs of the announcer."""

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None: ...
    def clear(self, topic: str) -> None: ...


class Twinning:
    """See the module. known: whether there is such a device. publisher: the announcer there is at
    the moment. refused: reports that could not be taken, since the start."""

    def __init__(
        self,
        store: Twins,
        topics: Topics,
        known: Callable[[str], bool],
        publisher: Callable[[], Publisher],
    ) -> None:
        self.refused = 0
        self._store = store
        self._topics = topics
        self._known = known
        self._publisher = publisher
        self._unsaved: set[Place] = set()
        self._turn = asyncio.Lock()

    def announce(self) -> None:
        """Publish what is desired, for a broker that does not know it."""
        for device, keys in self._store.entries.items():
            for (kind, key), entry in keys.items():
                if kind == "desired":
                    self._publish(device, key, entry)

    async def run(self) -> None:
        """Save what is reported now and then, until cancelled."""
        try:
            while True:
                await asyncio.sleep(_SAVE)
                await self._save()
        finally:
            await asyncio.shield(self._save())

    def state(self, device: str) -> dict[str, Any]:
        """What a device is to be and what it says it is; differing: the keys in which these are
        not the same. Raises LookupError."""
        self._must_be_known(device)
        keys = self._store.entries.get(device, {})
        found: dict[str, dict[str, Any]] = {"desired": {}, "reported": {}}
        for (kind, key), entry in sorted(keys.items()):
            found[kind][key] = entry.as_dict()
        wanted, said = found["desired"], found["reported"]
        differing = [
            key for key in wanted if key not in said or said[key]["value"] != wanted[key]["value"]
        ]
        return {"device": device, **found, "differing": differing}

    async def desire(self, device: str, key: str, value: Any, version: int | None = None) -> Entry:
        """What a key is to be from now on. version: the one that is to be replaced, 0 for none.
        Raises LookupError, ValueError, Conflict, Unavailable."""
        self._must_be_known(device)
        place: Place = (device, "desired", key)
        async with self._turn:
            before = self._expected(place, version)
            self._fits(place, value)
            entry = Entry(value, before + 1, 0, time.time_ns())
            await self._written(place, entry)
        self._publish(device, key, entry)
        return entry

    async def withdraw(self, device: str, key: str, version: int | None = None) -> None:
        """Nothing is desired of a key any more. Raises LookupError, Conflict, Unavailable."""
        place: Place = (device, "desired", key)
        async with self._turn:
            if self._store.get(place) is None:
                raise LookupError(f'nothing is desired of "{key}" of {device}')
            self._expected(place, version)
            await self._written(place, None)
        self._publisher().clear(self._topics("desired", device, key))

    async def forget(self, device: str) -> None:
        """A device is no more. Raises sqlite3.Error, OSError."""
        keys = list(self._store.entries.get(device, ()))
        self._unsaved = {place for place in self._unsaved if place[0] != device}
        for kind, key in keys:
            self._publisher().clear(self._topics(kind, device, key))
        if keys:
            await self._store.forget(device)

    def heard(self, device: str, key: str, payload: bytes) -> None:
        """A device reports what a key is: a JSON value, or {"value": …, "version": the desired
        version that this answers}; nothing: it is no more."""
        place: Place = (device, "reported", key)
        try:
            self._must_be_known(device)
            entry = self._reported(place, payload) if payload else None
        except (LookupError, ValueError, RecursionError) as error:
            self.refused += 1
            log.debug("reported %s of %s: %s", key, device, error)
            return
        before = self._store.get(place)
        same = entry and before and (entry.value, entry.of) == (before.value, before.of)
        if same or (entry is None and before is None):
            return
        self._store.put(place, entry)
        self._unsaved.add(place)

    # ---------------------------------------------------------------------------------------

    def _reported(self, place: Place, payload: bytes) -> Entry:
        if len(payload) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        value, of = json.loads(payload), 0
        if isinstance(value, dict) and "value" in value and value.keys() <= {"value", "version"}:
            of = value.get("version", 0)
            value = value["value"]
        if isinstance(of, bool) or not isinstance(of, int) or not 0 <= of < 2**53:
            raise ValueError("version is no number")
        self._fits(place, value)
        before = self._store.get(place)
        return Entry(value, before.version + 1 if before else 1, of, time.time_ns())

    def _fits(self, place: Place, value: Any) -> None:
        device, kind, key = place
        if not KEY.fullmatch(key):
            raise ValueError(f'"{key[:80]}" is no key')
        if len(_written(value)) > LARGEST:
            raise ValueError(f"the value is more than {LARGEST} bytes")
        if _is_deeper(value, DEEPEST):
            raise ValueError(f"the value has more than {DEEPEST} lists and objects in each other")
        if self._store.get(place) is None and self._count(device, kind) >= KEYS:
            raise ValueError(f"{device} has {KEYS} keys already")

    def _count(self, device: str, kind: Kind) -> int:
        return sum(known == kind for known, _ in self._store.entries.get(device, ()))

    def _expected(self, place: Place, version: int | None) -> int:
        entry = self._store.get(place)
        now = entry.version if entry else 0
        if version is not None and version != now:
            raise Conflict(
                f"{place[2]} of {place[0]} has version {now} by now, not {version}",
                fix="look at what it is, and ask again",
            )
        return now

    def _must_be_known(self, device: str) -> None:
        if not self._known(device):
            raise LookupError(f'no device "{device}"')

    async def _written(self, place: Place, entry: Entry | None) -> None:
        try:
            await self._store.write({place: entry})
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"it cannot be written down: {error}",
                fix="see that the disk has room: berrygate doctor",
            ) from error
        self._store.put(place, entry)

    def _publish(self, device: str, key: str, entry: Entry) -> None:
        topic = self._topics("desired", device, key)
        self._publisher().publish(topic, entry.as_dict(), retain=True)

    async def _save(self) -> None:
        places, self._unsaved = self._unsaved, set()
        if not places:
            return
        try:
            await self._store.save(places)
        except (sqlite3.Error, OSError) as error:
            self._unsaved |= places
            log.warning("what devices report cannot be kept yet: %s", error)


def _written(value: Any) -> bytes:
    """As JSON. Raises ValueError for what JSON cannot tell, though Python reads it: halves of
    characters, NaN. Kept, it would spoil the answer about every other key as well."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the value cannot be written as JSON: {error}") from error


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether more lists and objects than so many are in each other."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
