"""The device registry: one id for ever, limits, and what a restart knows."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.contracts import Reading, Value
from gateway.core.errors import DecodeError
from gateway.core.ids import MAX_LENGTH
from gateway.io.sqlite.database import Database
from gateway.store.devices import Devices

Opened = Callable[[], Database]


async def test_names_that_give_one_id_are_told_apart_for_ever(opened: Opened) -> None:
    names = ["Pump", "pump", "PUMP", "Pümp", "gateway", "pump-2", "x" * 90, "x" * 80]
    first = Devices(opened())
    ids = {name: first.id_of(name, "field") for name in names}
    ids_elsewhere = {name: first.id_of(name, "attic") for name in names}
    everyone = [*ids.values(), *ids_elsewhere.values()]
    assert len(set(everyone)) == len(everyone)
    assert ids["Pump"] == "pump"
    assert ids["pump"] == "pump-2"
    assert ids["gateway"] == "gateway-2"
    assert all(len(device) <= MAX_LENGTH for device in everyone)
    await first.save()
    first.database.close()
    second = Devices(opened())
    assert {name: second.id_of(name, "field") for name in reversed(names)} == ids
    assert {name: second.id_of(name, "attic") for name in reversed(names)} == ids_elsewhere


def test_latency_follows_what_a_device_lately_took(opened: Opened) -> None:
    devices = Devices(opened())
    pump = devices.get(devices.id_of("pump", "field"))
    assert pump.as_dict()["latency"] is None
    devices.delayed("pump", 2.0)
    assert pump.as_dict()["latency"] == 2.0
    for _ in range(100):
        devices.delayed("pump", 0.5)
    assert pump.as_dict()["latency"] == 0.5
    devices.delayed("forgotten a moment ago", 1.0)


def test_what_leaves_no_id_and_what_is_one_too_many_is_refused(opened: Opened) -> None:
    devices = Devices(opened(), limit=2)
    with pytest.raises(DecodeError) as refused:
        devices.id_of("¿?", "field")
    assert refused.value.reason == "device"
    devices.id_of("a", "field")
    devices.id_of("b", "field")
    for _ in range(2):
        with pytest.raises(DecodeError) as refused:
            devices.id_of("c", "field")
        assert refused.value.reason == "too_many_devices"
        assert refused.value.fix
    assert devices.id_of("a", "field") == "a"  # who is known stays
    assert len(devices) == 2


def test_a_device_may_have_so_many_metrics_and_no_more(opened: Opened) -> None:
    devices = Devices(opened(), series=3)
    devices.id_of("a", "field")
    devices.admit("a", {"x": 1.0, "y": 1.0})
    devices.admit("a", {"z": 1.0})
    with pytest.raises(DecodeError) as refused:
        devices.admit("a", {"x": 1.0, "w": 1.0})
    assert refused.value.reason == "too_many_series"
    assert devices.admit("a", {"y": 2.0, "z": 1.0}) == {"y": 2.0, "z": 1.0}
    assert devices.get("a").metrics == {"x", "y", "z"}


async def test_counts_and_last_values(opened: Opened) -> None:
    devices = Devices(opened())
    devices.id_of("a", "field")
    devices.seen([Reading("a", 5_000_000, {"x": 1.0}), Reading("a", 9_000_000, {"x": 2.0})])
    devices.seen([Reading("a", 7_000_000, {"x": 3.0})])  # late: not the last state
    shown = devices.get("a").as_dict()
    assert shown["last"] == {"time": 9, "values": {"x": 2.0}}
    assert shown["readings"] == 3
    await devices.save()
    devices.database.close()
    again = Devices(opened()).get("a")
    assert (again.readings, again.source, again.original) == (3, "field", "a")
    with pytest.raises(LookupError):
        devices.get("nobody")


async def test_a_new_id_is_settled_only_once_it_is_on_the_disk(
    opened: Opened, tmp_path: Path
) -> None:
    devices = Devices(opened())
    assert devices.settled
    devices.id_of("a", "field")
    assert not devices.settled
    blocking = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    blocking.execute("BEGIN IMMEDIATE")
    both = [asyncio.create_task(devices.settle()) for _ in range(2)]
    devices.id_of("b", "field")
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in both)
    blocking.execute("ROLLBACK")
    await asyncio.wait_for(asyncio.gather(*both), 15)
    assert devices.settled
    stored = blocking.execute("SELECT id FROM device ORDER BY id").fetchall()
    assert stored == [("a",), ("b",)]
    blocking.close()


async def test_what_could_not_be_saved_is_saved_later(opened: Opened, tmp_path: Path) -> None:
    devices = Devices(opened())
    devices.id_of("a", "field")
    await devices.save()
    # The file is replaced under it: everybody is saved again, not only who changed.
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    devices.id_of("b", "field")
    await devices.close()  # finds out, and does not raise
    assert devices.trouble
    await devices.save()
    devices.database.close()
    assert {device.id for device in Devices(opened()).list()} == {"a", "b"}


async def test_a_device_whose_name_is_damaged_gives_its_id_back(
    opened: Opened, tmp_path: Path
) -> None:
    devices = Devices(opened())
    for name in ("Pump", "Door"):
        devices.id_of(name, "field")
    await devices.save()
    devices.database.close()
    with sqlite3.connect(tmp_path / "state.db") as spoiled:
        spoiled.execute("UPDATE device SET original = 'Pumq' WHERE id = 'pump'")
    database = opened()
    again = Devices(database)
    assert database.set_aside[0].lost == 1
    assert again.id_of("Pump", "field") == "pump"
    assert again.id_of("Door", "field") == "door"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.text(max_size=70), st.sampled_from("ab")), max_size=40))
def test_no_two_names_share_an_id(opened: Opened, names: list[tuple[str, str]]) -> None:
    devices = Devices(opened())
    ids: dict[tuple[str, str], str] = {}
    for original, source in names:
        try:
            ids.setdefault((source, original), devices.id_of(original, source))
        except DecodeError:
            continue
        assert ids[source, original] == devices.id_of(original, source)
    assert len(set(ids.values())) == len(ids)
    assert all(0 < len(device) <= MAX_LENGTH for device in ids.values())


def test_what_a_device_said_last_of_each_of_its_metrics(opened: Opened) -> None:
    devices = Devices(opened())
    device = devices.get(devices.id_of("node", "mqtt"))

    def says(time: int, values: dict[str, Value]) -> None:
        devices.seen([Reading("node", time, devices.admit("node", values))])

    devices.seed("node", {"old": 1.0, "t": 1.0})
    devices.seed("node", {"h": 40.0})
    assert device.last == {"old": 1.0, "t": 1.0, "h": 40.0}
    one: dict[str, Value] = {"t": 20.0}
    says(10, one)
    assert device.last == {"t": 20.0}
    says(11, {"h": 41.0})
    says(12, {"t": 21.0})
    says(5, {"h": 7.0})  # late
    assert device.last == {"t": 21.0, "h": 41.0}
    assert one == {"t": 20.0}
    devices.seed("node", {"h": 1.0})
    assert device.last == {"t": 21.0, "h": 41.0}
