"""Devices of one name keep who they are over restarts, whoever speaks first."""

from collections.abc import Callable

import pytest

from gateway.core.contracts import Naming
from gateway.io.sqlite.database import Database
from gateway.io.sqlite.salvage import DamagedError
from gateway.store import names
from gateway.store.devices import Devices
from tests.codecs.test_families import House

Opened = Callable[[], Database]
SOURCE = "mqtt"
FIRST, SECOND, THIRD = "24e124128c147444", "24e124128c147555", "24e124128c147666"


class Start:
    """A source from the gateway's start to its end, with the registry there is."""

    def __init__(self, opened: Opened) -> None:
        self.devices = Devices(opened())
        self.house = House()
        assert isinstance(self.house.codec, Naming)
        self.house.codec.shared_names = self.devices.names_of(SOURCE)

    def hears(self, topic: str, payload: object) -> str:
        """The id of the device that a message is of."""
        (told,) = self.house.hears(topic, payload)
        return self.devices.id_of(told["device"], SOURCE)

    def soil(self, key: str) -> str:
        info = {"deviceName": "Soil", "devEui": key}
        topic = f"application/1/device/{key}/event/up"
        return self.hears(topic, {"deviceInfo": info, "object": {"moisture": 7.5}})

    def node(self, key: str) -> str:
        config = {"name": "T", "stat_t": f"{key}/t", "dev": {"ids": key, "name": "Node"}}
        self.house.hears(f"homeassistant/sensor/{key}/t/config", config)
        return self.hears(f"{key}/t", "7")

    def lamp(self, family: str) -> str:
        if family == "Tasmota":
            return self.hears("tele/lamp/STATE", {"POWER": "ON"})
        return self.hears("zigbee2mqtt/lamp", {"state": "ON"})

    async def ends(self) -> None:
        await self.devices.close()
        self.devices.database.close()


@pytest.mark.parametrize(
    ("speaks", "keys", "ids"),
    [
        (Start.soil, (FIRST, SECOND, THIRD), ("soil", f"soil-{SECOND}", f"soil-{THIRD}")),
        (Start.node, ("a0b765", "a0b766", "a0b767"), ("node", "node-a0b766", "node-a0b767")),
        (Start.lamp, ("Tasmota", "Zigbee2MQTT", "Zigbee2MQTT"),
         ("lamp", "lamp-zigbee2mqtt", "lamp-zigbee2mqtt")),
    ],
)  # fmt: skip
async def test_who_has_a_name_keeps_it_over_restarts(
    opened: Opened, speaks: Callable[[Start, str], str], keys: list[str], ids: list[str]
) -> None:
    start = Start(opened)
    assert [speaks(start, key) for key in keys[:2]] == list(ids[:2])
    await start.ends()
    for order in ((2, 1, 0), (1, 0, 2), (0, 2, 1)):
        start = Start(opened)
        assert {each: speaks(start, keys[each]) for each in order} == dict(enumerate(ids))
        await start.ends()


async def test_a_new_device_does_not_take_a_name_by_speaking_first(opened: Opened) -> None:
    start = Start(opened)
    assert start.soil(FIRST) == "soil"
    await start.devices.settle()  # as before a reading is written down, and then it is killed
    start.devices.database.close()
    start = Start(opened)
    assert start.soil(SECOND) == f"soil-{SECOND}"
    assert start.soil(FIRST) == "soil"


async def test_who_was_the_second_before_names_were_kept_stays_it(opened: Opened) -> None:
    start = Start(opened)
    start.soil(FIRST), start.soil(SECOND), start.lamp("Tasmota"), start.lamp("Zigbee2MQTT")
    await start.devices.save()
    await start.devices.database.write(lambda c: c.execute("DELETE FROM device_name"))
    await start.ends()
    start = Start(opened)
    assert start.lamp("Zigbee2MQTT") == "lamp-zigbee2mqtt"
    assert start.soil(SECOND) == f"soil-{SECOND}"
    assert start.soil(FIRST) == "soil"
    assert start.lamp("Tasmota") == "lamp"


async def test_a_name_that_was_forgotten_is_free(opened: Opened) -> None:
    start = Start(opened)
    start.soil(FIRST)
    await start.devices.save()
    await start.devices.forget("soil")
    assert start.soil(SECOND) == "soil"
    await start.ends()
    start = Start(opened)
    assert start.soil(FIRST) == f"soil-{FIRST}"
    assert start.soil(SECOND) == "soil"


async def test_one_that_takes_the_place_of_another_can_go_on_as_that(opened: Opened) -> None:
    start = Start(opened)
    start.soil(FIRST), start.soil(SECOND)
    await start.devices.merge(f"soil-{SECOND}", "soil")
    assert start.soil(SECOND) == "soil"
    await start.ends()
    assert Start(opened).soil(SECOND) == "soil"


async def test_where_the_disk_refuses_a_name_is_kept(opened: Opened) -> None:
    start = Start(opened)
    start.soil(FIRST)
    await start.devices.save()
    write = start.devices.database.write
    await write(lambda c: c.execute("ALTER TABLE device_name RENAME TO away"))
    with pytest.raises(Exception, match="device_name"):
        await start.devices.forget("soil")
    assert start.soil(SECOND) == f"soil-{SECOND}"
    with pytest.raises(Exception, match="device_name"):
        await start.devices.save()
    await write(lambda c: c.execute("ALTER TABLE away RENAME TO device_name"))
    await start.ends()
    assert Start(opened).soil(SECOND) == f"soil-{SECOND}"


async def test_a_file_that_is_replaced_is_told_every_name_again(opened: Opened) -> None:
    start = Start(opened)
    start.soil(FIRST)
    await start.devices.save()
    write = start.devices.database.write
    await write(lambda c: c.execute("DELETE FROM device_name"))

    def broken(connection: object) -> None:
        raise DamagedError("a page")

    with pytest.raises(DamagedError):
        await write(broken)
    start.soil(FIRST)
    await start.ends()
    assert Start(opened).soil(SECOND) == f"soil-{SECOND}"


async def test_each_source_has_its_own_names(opened: Opened) -> None:
    start = Start(opened)
    start.soil(FIRST)
    assert start.devices.names_of("attic").owner("key", "Soil") is None
    assert start.devices.names_of(SOURCE).owner("key", "Soil") == FIRST
    assert start.house.about("Soil")["name"] == "Soil"


async def test_names_that_become_no_devices_are_let_go(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_MOST", 10)
    monkeypatch.setattr(names, "_AGAIN", 0.0)
    start = Start(opened)
    start.soil(FIRST)
    for number in range(20):  # made up by somebody: nothing is read of them
        start.house.codec.device_of(f"tele/made-up-{number}/LWT")
    assert start.soil(SECOND) == f"soil-{SECOND}"
    assert start.lamp("Tasmota") == "lamp"
    assert start.lamp("Zigbee2MQTT") == "lamp-zigbee2mqtt"
    await start.ends()
    start = Start(opened)
    await start.devices.save()
    rows = await start.devices.database.read(
        lambda c: c.execute("SELECT DISTINCT name FROM device_name").fetchall()
    )
    assert not [name for (name,) in rows if "made-up" in name]
    assert start.lamp("Zigbee2MQTT") == "lamp-zigbee2mqtt"


async def test_a_name_without_an_id_that_was_forgotten_is_free(opened: Opened) -> None:
    start = Start(opened)
    first = start.hears("tele/датчик/STATE", {"POWER": "ON"})
    await start.devices.forget(first)
    assert start.hears("zigbee2mqtt/датчик", {"state": "ON"}) == first


async def test_a_name_that_a_flipped_bit_gave_to_another_is_given_to_nobody(
    opened: Opened,
) -> None:
    start = Start(opened)
    start.soil(FIRST)
    await start.devices.save()
    write = start.devices.database.write
    await write(lambda c: c.execute("UPDATE device_name SET owner = owner || 'x'"))
    await start.ends()
    assert Start(opened).soil(FIRST) == "soil"
