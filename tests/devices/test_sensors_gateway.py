"""Chips on I2C and thermometers on 1-Wire at a gateway as its users have it. Only what is below
smbus2 and /sys is simulated."""

import time
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway
from tests.support.i2c_wires import plug
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber
from tests.support.thermometers import Thermometers, scratchpad, w1_slave

BOILER, GARDEN = "28-0316a2790bff", "28-3c01b556f1d2"


def last(heard: Subscriber, topic: str) -> dict[str, Any]:
    found = [message.json for message in list(heard.messages) if message.topic == topic]
    return dict(found[-1]) if found else {}


def source(house: Gateway, name: str) -> dict[str, Any]:
    (found,) = (each for each in house.api("status")["sources"] if each["name"] == name)
    return dict(found)


def why(house: Gateway, name: str) -> str:
    """What health has against a source."""
    return str(house.api("health")["parts"][f"stage/intake-{name}"]["reasons"])


def test_chips_that_are_pulled_and_sensors_that_go(tmp_path: Path) -> None:
    bus, root = tmp_path / "i2c-1", tmp_path / "machine"
    plug(bus, 0x76, 0x44, 0x40)
    onewire = Thermometers(root).switch_on()
    onewire.plug(BOILER, 61.5)
    onewire.plug(GARDEN, -3.0)
    devices = [
        {"type": "i2c", "bus": str(bus), "interval": "200ms", "chips": [
            {"id": "outside", "kind": "bme280"},
            {"id": "cellar", "kind": "sht3x", "interval": "1h"},
            {"id": "battery", "kind": "ina219", "max_current": 2},
        ]},
        {"type": "onewire", "interval": "200ms", "names": {BOILER: "boiler"}},
    ]  # fmt: skip
    house = Gateway(tmp_path / "house", broker={"port": free_port()}, devices=devices)
    house.module = "tests.support.sensors"
    house.environment = {"I2C_BUS": str(bus), "ONEWIRE_ROOT": str(root)}
    house.start()
    try:
        with subscriber(house.broker_port) as heard:
            _readings(house, heard)
            _pulled(house, heard, bus, onewire)
        assert house.differences() == {"i2c": 0, "onewire": 0}
    finally:
        house.stop()


def _readings(house: Gateway, heard: Subscriber) -> None:
    house.wait(lambda: len(house.values("outside", "temperature")) > 3)
    house.wait(lambda: bool(house.values("cellar", "humidity")))
    house.wait(lambda: bool(house.values("boiler", "temperature")))
    house.wait(lambda: bool(house.values(GARDEN, "temperature")))
    assert set(house.values("outside", "temperature")) == {25.082}
    assert set(house.values("boiler", "temperature")) == {61.5}
    devices = {each["id"]: each for each in house.api("devices")}
    assert devices.keys() == {"outside", "cellar", "battery", "boiler", GARDEN}
    assert devices["outside"]["units"] == {
        "temperature": "°C", "pressure": "hPa", "humidity": "%",
    }  # fmt: skip
    for device, units in (("battery", "current"), ("boiler", "temperature")):
        topic = f"berrygate/test/meta/{device}/info"
        heard.wait(lambda topic=topic: bool(last(heard, topic)))
        assert units in last(heard, topic)["units"]
    heard.wait(lambda: bool(last(heard, "berrygate/test/state/outside/readings")))


def _pulled(house: Gateway, heard: Subscriber, bus: Path, onewire: Thermometers) -> None:
    on_i2c = "berrygate/test/health/stage/intake-i2c"
    plug(bus, 0x40)
    onewire.says(BOILER, w1_slave(scratchpad(0x0550, byte6=0x0C), 85_000))
    pulled = time.monotonic()
    heard.wait(lambda: "no answer" in str(last(heard, on_i2c).get("reasons")), 10)
    for part, words in (
        ("i2c", "outside (bme280 at 0x76): no answer"),
        ("i2c", "cellar (sht3x at 0x44): no answer"),  # though its next reading is in an hour
        ("onewire", f"boiler (DS18B20 {BOILER}): 85.00 °C is what it says"),
    ):
        left = pulled + 10 - time.monotonic()
        house.wait(lambda p=part, w=words: w in why(house, p), left)
    print(f"named after {time.monotonic() - pulled:.1f} s")
    assert last(heard, on_i2c)["level"] not in ("EXCELLENT", "GOOD")
    assert source(house, "i2c")["state"] == "running"
    count = len(house.values("battery", "current"))
    house.wait(lambda: len(house.values("battery", "current")) > count + 3)
    house.wait(lambda: source(house, "onewire")["dead_lettered"] >= 1)

    plug(bus, 0x76, 0x44, 0x40)
    onewire.measures(BOILER, 60.0)
    count = len(house.values("outside", "temperature"))
    house.wait(lambda: len(house.values("outside", "temperature")) > count + 3)
    house.wait(lambda: len(house.values("cellar", "temperature")) > 1)
    house.wait(lambda: 60.0 in house.values("boiler", "temperature"))
    for name in ("i2c", "onewire"):
        house.wait(lambda n=name: "concern" not in why(house, n), 35)
    assert set(house.values("outside", "temperature")) == {25.082}
    assert set(house.values("boiler", "temperature")) == {61.5, 60.0}
    print(f"well again after {time.monotonic() - pulled:.1f} s")

    bus.unlink()
    heard.wait(lambda: "I2C is switched off" in str(last(heard, on_i2c)["reasons"]), 15)
    house.wait(lambda: source(house, "i2c")["state"] == "failing")
    assert "dtparam=i2c_arm=on" in source(house, "i2c")["fix"]
    plug(bus, 0x76, 0x44, 0x40)
    house.wait(lambda: source(house, "i2c")["state"] == "running")
