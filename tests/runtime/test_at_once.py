"""Several at work on one device at the same moment: it is forgotten while it is described, and two
say something else of it."""

import asyncio
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.core.contracts import Reading
from gateway.core.topics import Topics
from gateway.io.sqlite.database import Database
from gateway.runtime.announce import Announcer
from gateway.runtime.home_assistant import HomeAssistant
from gateway.runtime.house import House
from gateway.runtime.registry_rows import RegistryRows
from gateway.store.abouts import About
from gateway.store.devices import Devices
from tests.support.small_house import SmallHouse
from tests.support.small_managing import manage

TOPICS = Topics("berrygate", "gw")


class Told:
    """Takes what is published, by topic, and what is taken back."""

    def __init__(self) -> None:
        self.retained: dict[str, Any] = {}

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        if retain:
            self.retained[topic] = payload

    def clear(self, topic: str) -> None:
        self.retained.pop(topic, None)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    database = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    yield Devices(database)
    database.close()


class Slow:
    """Devices that we speak for. While the first of them is asked, all are forgotten."""

    def __init__(self, registry: Devices) -> None:
        self._registry = registry
        self._asked = False

    def devices(self) -> set[str]:
        return {device.id for device in self._registry.list()}

    async def info(self, device: str) -> Mapping[str, Any]:
        if not self._asked:
            self._asked = True
            for each in self.devices():
                await self._registry.forget(each)
        return {}


async def test_home_assistant_is_told_of_what_is_left(devices: Devices, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        devices.seen([Reading(devices.id_of(name, "coap"), 1, {"t": 1.0})])
    await devices.settle()
    house = SimpleNamespace(devices_=devices, topics=TOPICS, units=lambda device: {})
    told = Told()
    telling = HomeAssistant(
        cast(House, house), cast(Announcer, told), Slow(devices), tmp_path / "said.json", True
    )
    await telling._look()
    assert not told.retained
    devices.seen([Reading(devices.id_of("b", "coap"), 1, {"t": 1.0})])
    await telling._look()
    assert told.retained.keys() == {"homeassistant/device/berrygate_gw_b/config"}


async def test_two_that_say_something_of_a_device_at_once_are_both_heard() -> None:
    house = SmallHouse()
    manage(house)
    assert house.managing is not None
    managing = house.managing
    rows = RegistryRows(managing.devices, managing)
    await managing.devices.settle()
    row = (1, {"id": "soil-4", "firmware": "2"})
    await asyncio.gather(
        managing.change("soil-4", name="Beet"),
        managing.change("soil-4", tags=("a",)),
        rows.take([row], check=False),
        managing.change("soil-4", model="S"),
    )
    found = managing.devices.abouts.get("soil-4")
    assert found == About("Beet", model="S", firmware="2", tags=("a",))
    managing.devices.database.close()
