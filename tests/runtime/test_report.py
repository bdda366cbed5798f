"""Reports go out when something changes and again in time, and never all at once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.core.contracts import Reading
from gateway.core.topics import Topics
from gateway.io.sqlite.database import Database
from gateway.runtime.house import House
from gateway.runtime.report import REPEAT, Report
from gateway.stages.health import Deduction, Health
from gateway.store.devices import Devices
from gateway.store.health import HealthHistory

DEVICES = 2_000


class Told:
    """Takes what is published, by topic."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self.cleared: list[str] = []

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        assert qos == 1
        assert retain
        self.last[topic] = payload
        self.counts[topic] += 1

    def clear(self, topic: str) -> None:
        self.cleared.append(topic)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    database = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    yield cast(
        House,
        SimpleNamespace(
            devices_=Devices(database),
            health_=Health(),
            health_log=HealthHistory(database),
            intakes={},
        ),
    )
    database.close()


def ticking(house: House, told: Told) -> Callable[[], int]:
    """What happens each second; how many messages of devices it makes."""
    report, turn = Report(house, told, Topics("berrygate", "gw")), [0]

    def tick() -> int:
        before = sum(told.counts.values())
        report._second(turn[0] % REPEAT)
        turn[0] += 1
        return sum(told.counts.values()) - before

    return tick


def hear(house: House, count: int) -> None:
    names = [house.devices_.id_of(f"d{n}", "mqtt") for n in range(count)]
    house.devices_.seen([Reading(name, 1, {"a": 1.0}) for name in names])


def test_repeats_of_many_devices_are_spread_over_the_time(house: House) -> None:
    told = Told()
    tick = ticking(house, told)
    hear(house, DEVICES)
    tick()
    assert told.counts["berrygate/gw/health/device/d0"] == 1
    told.counts.clear()
    each = [tick() for _ in range(REPEAT)]
    assert max(each) <= 2 * (DEVICES / REPEAT + 1) + 1
    devices = [topic for topic in told.counts if "/device/" in topic]
    presences = [topic for topic in told.counts if topic.endswith("/presence")]
    assert len(devices) == len(presences) == DEVICES
    assert all(told.counts[topic] == 1 for topic in (*devices, *presences))


async def test_what_an_earlier_configuration_had_is_taken_back(house: House) -> None:
    for part in ("bridge/home", "bridge/old", "stage/intake-old", "device/d0", "gateway/gateway"):
        house.health_log.note(part, 100, "EXCELLENT")
    await house.health_log.saved()
    house.health_.register("bridge", "home", list)
    told = Told()
    await Report(house, told, Topics("berrygate", "gw"))._take_back()
    assert sorted(told.cleared) == [
        "berrygate/gw/health/bridge/old", "berrygate/gw/health/stage/intake-old",
    ]  # fmt: skip


def test_a_device_that_comes_later_is_told_of_at_once(house: House) -> None:
    told = Told()
    tick = ticking(house, told)
    hear(house, 3)
    tick()
    house.devices_.id_of("never", "mqtt")
    tick()
    assert "berrygate/gw/health/device/never" not in told.last
    hear(house, 5)
    tick()
    assert told.last["berrygate/gw/status/d4/presence"]["state"] == "online"


async def test_a_device_that_comes_again_after_it_was_forgotten_is_there_since_then(
    house: House,
) -> None:
    told = Told()
    report = Report(house, told, Topics("berrygate", "gw"))
    hear(house, 2)
    report._second(0)
    since = told.last["berrygate/gw/status/d0/presence"]["since"]
    for device in ("d0", "d1"):
        await house.devices_.forget(device)
        house.health_.leave(device)
    await asyncio.sleep(0.01)  # `since` is told in ms
    hear(house, 1)
    report._second(1)
    assert told.last["berrygate/gw/status/d0/presence"]["since"] > since
    assert report._presence.keys() == {"d0"}  # of those that are gone nothing is kept


async def test_what_changes_is_told_at_once_and_remembered(house: House) -> None:
    told = Told()
    tick = ticking(house, told)
    lost = [Deduction("availability", 20, 10, 60, "no answer")]
    found: list[Deduction] = []
    house.health_.register("bridge", "home", lambda: found)
    tick()
    assert told.last["berrygate/gw/health/bridge/home"]["level"] == "EXCELLENT"
    found += lost
    tick()
    assert told.last["berrygate/gw/health/bridge/home"]["level"] == "CRITICAL"
    assert told.last["berrygate/gw/health/bridge/home"]["trend"] == "falling"
    assert told.last["berrygate/gw/health/bridge/home"]["reasons"] == [lost[0].as_dict()]
    summary = told.last["berrygate/gw/health/gateway/summary"]
    assert summary["components"]["bridge/home"]["level"] == "CRITICAL"
    stays = await house.health_log.of("bridge/home", 0, 2**50)
    assert [(stay.level, stay.why) for stay in stays] == [
        ("EXCELLENT", ""),
        ("CRITICAL", "no answer"),
    ]
