"""Devices that are merged or forgotten, and what the next start knows of that."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from itertools import permutations

import pytest

from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.io.sqlite.salvage import DamagedError
from gateway.store.abouts import About
from gateway.store.devices import Devices

Opened = Callable[[], Database]


def heard(devices: Devices, device: str, value: float) -> None:
    devices.admit(device, {"value": value})
    devices.seen([Reading(device, time.time_ns(), {"value": value})])


async def reopened(devices: Devices, opened: Opened) -> Devices:
    await devices.close()
    devices.database.close()
    database = opened()
    found = Devices(database)
    assert database.set_aside == []  # nothing was taken for damage
    return found


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
async def test_merged_ones_are_one_for_ever(opened: Opened, order: tuple[str, ...]) -> None:
    devices = Devices(opened())
    for name in order:
        devices.id_of(name.upper(), "field")
    for name in "cab":
        heard(devices, name, 1.0)
    await devices.merge("a", "b")
    await devices.merge("b", "c")
    for _ in range(2):
        assert {devices.id_of(name, "field") for name in "ABC"} == {"c"}
        assert [device.id for device in devices.list()] == ["c"]
        assert devices.get("c").readings == 3
        assert devices.get("c").original == "B"  # who spoke last of b and a, and then of all
        devices = await reopened(devices, opened)


async def test_a_forgotten_one_is_a_new_one(opened: Opened) -> None:
    devices = Devices(opened())
    for name in ("a", "b"):
        devices.id_of(name, "field")
        heard(devices, name, 1.0)
    await devices.abouts.save({"a": About(name="A"), "b": About(name="B", state="ignored")})
    await devices.close()
    await devices.merge("b", "a")
    assert devices.abouts.ignored == set()
    await devices.forget("a")
    assert (len(devices), devices.admission.series) == (0, 0)
    devices = await reopened(devices, opened)
    assert len(devices) == 0
    assert devices.id_of("a", "field") == "a"
    assert devices.id_of("b", "field") == "b"
    assert devices.get("a").last == {}
    assert devices.abouts.get("a") == About()


async def test_what_is_saved_meanwhile_brings_nobody_back(opened: Opened) -> None:
    devices = Devices(opened())
    devices.id_of("a", "field")
    heard(devices, "a", 1.0)
    await asyncio.gather(devices.save(), devices.forget("a"), devices.save())
    devices = await reopened(devices, opened)
    assert len(devices) == 0


async def test_where_the_disk_refuses_everything_stays(opened: Opened) -> None:
    devices = Devices(opened())
    for name in ("a", "b"):
        devices.id_of(name, "field")
        heard(devices, name, 1.0)
    await devices.save()
    await devices.database.write(lambda c: c.execute("ALTER TABLE device_alias RENAME TO away"))
    for change in (devices.forget("a"), devices.merge("a", "b")):
        with pytest.raises(sqlite3.Error):
            await change
    assert devices.id_of("a", "field") == "a"
    assert devices.id_of("b", "field") == "b"
    assert devices.get("a").readings == 1
    assert devices.admission.series == 2
    await devices.database.write(lambda c: c.execute("ALTER TABLE away RENAME TO device_alias"))
    devices = await reopened(devices, opened)
    assert len(devices) == 2


async def test_what_was_said_last_is_known_and_may_be_told_better(opened: Opened) -> None:
    devices = Devices(opened())
    devices.id_of("a", "field")
    heard(devices, "a", 1.0)
    devices = await reopened(devices, opened)
    assert devices.get("a").last == {"value": 1.0}
    assert devices.get("a").count == 0
    devices.seed("a", {"value": 2.0})  # retained: said after we ended
    assert devices.get("a").last == {"value": 2.0}
    heard(devices, "a", 3.0)
    devices.seed("a", {"value": 2.0})
    assert devices.get("a").last == {"value": 3.0}


async def test_a_file_that_is_replaced_is_told_everything_again(opened: Opened) -> None:
    database = opened()
    devices = Devices(database)
    for name in ("a", "b", "c"):
        devices.id_of(name, "field")
        heard(devices, name, 1.0)
    await devices.merge("b", "a")
    await devices.abouts.save({"c": About(name="C", state="ignored")})
    await devices.save()
    for table in ("device", "device_alias", "device_about"):  # cannot be read any more
        await database.write(lambda c, table=table: c.execute(f"DELETE FROM {table}"))

    def broken(connection: sqlite3.Connection) -> None:
        raise DamagedError("a page")

    with pytest.raises(DamagedError):
        await database.write(broken)
    heard(devices, "a", 2.0)
    await devices.save()
    await devices.close()
    assert len(database.set_aside) == 1
    database.close()
    again = Devices(opened())
    assert again.id_of("b", "field") == "a"
    assert again.abouts.get("c").name == "C"
    assert again.abouts.ignored == {"c"}
