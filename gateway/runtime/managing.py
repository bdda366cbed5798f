"""What people do with devices: adopt, ignore, name, merge and forget them."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from gateway.core.errors import Unavailable
from gateway.core.topics import Topics
from gateway.runtime.house import House
from gateway.store.abouts import About, State, checked
from gateway.store.device import Device

log = logging.getLogger(__name__)

_RETAINED = (
    ("status", "presence"), ("state", "readings"), ("meta", "info"),
)  # fmt: skip


class Publisher(Protocol):
    """What managing needs of the announcer."""

    def clear(self, topic: str) -> None:
        """Take back what was retained on a topic."""
        ...


class Managing:
    """See the module. publisher: the announcer there is at the moment. left: told of a device that
    is no more, and of one that another has been merged into.

    devices: all of them."""

    def __init__(
        self, house: House, publisher: Callable[[], Publisher], left: Callable[[str], None]
    ) -> None:
        self._house = house
        self.devices = house.devices_
        self._publisher = publisher
        self._left = left
        self._topics: Topics = house.topics
        self._turn = asyncio.Lock()
        self.devices.observers.append(self._look_anew)

    @property
    def sources(self) -> Collection[str]:
        """The names of those that are configured."""
        return self._house.intakes

    def listed(self, text: str = "", state: State | None = None, tag: str = "") -> Sequence[Device]:
        """The devices whose id or name holds `text` (or fits, where it is a shell pattern), in
        this state, with this tag."""
        if not (text or state or tag):
            return self.devices.list()
        return [each for each in self.devices.list() if self._fits(each, text, state, tag)]

    def _fits(self, device: Device, text: str, state: State | None, tag: str) -> bool:
        about = self.devices.abouts.get(device.id)
        if (state and about.state != state) or (tag and tag not in about.tags):
            return False
        names = (device.id, about.name.lower(), device.original.lower())
        wanted = text.lower()
        if set(wanted) & set("*?["):
            return any(fnmatchcase(name, wanted) for name in names)
        return any(wanted in name for name in names)

    async def change(self, device: str, **changes: Any) -> None:
        """Say something else of a device: name, state, model, firmware, tags, attributes. Raises
        LookupError, ValueError, Unavailable."""
        self.devices.get(device)
        await self.change_all({device: changes})

    async def change_all(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """All of these, or none. Raises LookupError, ValueError, Unavailable."""
        abouts = self.devices.abouts
        async with self._turn:  # or what another said meanwhile would be lost
            after = {
                device: checked(replace(abouts.get(self.devices.get(device).id), **each))
                for device, each in changes.items()
            }
            before = {device: abouts.get(device) for device in after}
            with _disk():
                await abouts.save(after)
        moved = [device for device in after if _is_moved(before[device], after[device])]
        if not moved:
            return
        self.devices.changed()
        for device in moved:
            if after[device].state == "ignored":
                self._house.health_.leave(device)
                self._clear_health(device)
                log.info("device %s is ignored from now on", device)

    async def merge(self, old: str, into: str) -> None:
        """What comes of `old` is `into`'s from now on. Raises LookupError, ValueError,
        Unavailable."""
        with _disk():
            await self.devices.merge(old, into)
            await self._forget_state(old)
        self._gone(old)
        self._left(into)
        log.warning("device %s is %s from now on", old, into)

    async def forget(self, device: str) -> None:
        """A device is no more; one that speaks again is new. Its history stays. Raises
        LookupError, Unavailable."""
        with _disk():
            await self.devices.forget(device)
            if self._house.commanding is not None:
                await self._house.commanding.store.forget(device)
            await self._forget_state(device)
        self._gone(device)
        log.warning("device %s is forgotten", device)

    async def _forget_state(self, device: str) -> None:
        if self._house.twinning is not None:
            await self._house.twinning.forget(device)

    def _gone(self, device: str) -> None:
        self._house.health_.leave(device)
        if self._house.alerting is not None:
            self._house.alerting.vanished(device)
        self._left(device)
        self._clear_health(device)
        for kind, channel in _RETAINED:
            self._publisher().clear(self._topics(kind, device, channel))

    def _clear_health(self, device: str) -> None:
        self._house.health_log.end(f"device/{device}")
        kind = "device"
        self._publisher().clear(self._topics("health", kind, device))
        self._publisher().clear(self._topics("status", device, "presence"))

    def _look_anew(self) -> None:
        """Who sends on which topic is looked up again, and rates are counted anew."""
        for intake in self._house.intakes.values():
            intake.decoder.senders.forget()
        self._house.looks.clear()


def _is_moved(before: About, after: About) -> bool:
    return (before.state == "ignored") != (after.state == "ignored")


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            f"it cannot be written down: {error}",
            fix="see that the disk has room: berrygate doctor",
        ) from error
