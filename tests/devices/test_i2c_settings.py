"""Chips and buses as configured: what cannot be is said, and what to write instead."""

import sys
from pathlib import Path

import pytest

from devices.i2c import I2cSettings
from gateway.config import InvalidConfig, loads
from gateway.doctor import sensor_buses
from gateway.doctor.findings import Scene
from tests.support.thermometers import Thermometers


@pytest.mark.parametrize(
    ("written", "message", "fix"),
    [
        ("{kind: bme280, address: 0x44}", "bme280 is at 0x76 or 0x77", "address: 0x76"),
        ("{kind: ina219, address: 0x76}", "ina219 is at 0x40 to 0x4f", "address: 0x40"),
        ("{kind: bme280, shunt: 1}", "bme280 has no shunt", "leave it out"),
        ("{kind: ads1115}", "ads1115 needs channels", "add channels:"),
        ("{kind: registers, registers: [{name: a, register: 1}]}", "registers needs address",
         "add address:"),
        ("{kind: ina219, shunt: 0.1, max_current: 5}", "0.1 Ω and 5 A are more than 320 mV",
         "max_current: 3.2"),
        ("{kind: ads1115, channels: [{name: a, input: 0, minus: 2}]}",
         "the chip measures 0 minus 1", "use one of these"),
        ("{kind: ads1115, channels: [{name: a, input: 0}, {name: a, input: 1}]}",
         '"a" is there twice', "give one another name"),
        ("{kind: registers, address: 0x20, registers: [{name: a, register: 0x100}]}",
         "register 0x100 takes two bytes", "register_size: 2"),
        ("{kind: registers, address: 0x20, registers: [{name: a, register: 1, bits: 9}]}",
         "uint8 has 8 bits", "leave it out"),
        ("", "nothing is on the bus", "chips: [{kind: bme280}]"),
        ("{kind: bme820}", '"bme820" is not one of the choices', "kind: bme280"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(written: str, message: str, fix: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        loads(f"devices: [{{type: i2c, chips: [{written}]}}]")
    (problem,) = error.value.problems
    assert message in problem.message
    assert fix in problem.fix


def test_two_chips_at_one_place_are_refused() -> None:
    for pair, word in (
        ("{kind: bme280}, {kind: bmp280}", "two chips have address 0x76"),
        ("{id: a, kind: bme280}, {id: a, kind: sht3x}", "two chips have id a"),
    ):
        with pytest.raises(InvalidConfig, match=word):
            loads(f"devices: [{{type: i2c, chips: [{pair}]}}]")


def test_names_and_buses() -> None:
    text = """
devices:
  - {type: i2c, chips: [{kind: sht3x}, {kind: sht3x, address: 0x45}, {id: sht3x-2, kind: bme280}]}
  - {type: i2c, bus: 3, chips: [{kind: sht3x}]}
  - {type: i2c, bus: /dev/i2c-cellar, chips: [{kind: sht3x}]}
"""
    one, two, three = loads(text).devices
    assert isinstance(one, I2cSettings)
    assert list(one.named_chips) == ["sht3x", "sht3x-3", "sht3x-2"]
    paths = [each.path for each in (one, two, three) if isinstance(each, I2cSettings)]
    assert paths == ["/dev/i2c-1", "/dev/i2c-3", "/dev/i2c-cellar"]
    with pytest.raises(InvalidConfig):
        loads("devices: [{type: i2c, bus: i2c-1, chips: [{kind: sht3x}]}]")


def test_without_smbus2_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smbus2", None)
    for name in ("devices.i2c", "gateway.io.i2c.bus"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(InvalidConfig, match=r"'i2c' needs: pip install berrygate\[i2c\]"):
        loads("devices: [{type: i2c, chips: [{kind: sht3x}]}]")


def test_the_doctor_looks_at_buses(tmp_path: Path) -> None:
    config = loads("""
devices:
  - {type: i2c, chips: [{kind: sht3x}]}
  - {type: i2c, id: odd, bus: 2, chips: [{kind: sht3x}]}
  - {type: i2c, id: good, bus: /dev/null, chips: [{kind: sht3x}]}
  - {type: onewire, names: {28-0316a2790bff: boiler}}
""")

    def seen(root: Path) -> dict[str, tuple[str, str, str]]:
        found = sensor_buses.buses(Scene(config=config, root=root))
        return {each.subject: (each.state.value, each.seen, each.fix) for each in found}

    found = seen(Path("/"))
    assert found["good"] == ("OK", "/dev/null is there", "")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/i2c-2").touch()
    found = seen(tmp_path)
    assert found["i2c"][:2] == ("FAIL", f"/dev/i2c-1 is not there; here are: {tmp_path}/dev/i2c-2")
    assert found["odd"][:2] == ("FAIL", "/dev/i2c-2 is no I2C bus")
    assert found["onewire"][0] == "FAIL"
    assert "dtoverlay=w1-gpio" in found["onewire"][2]
    (tmp_path / "dev/i2c-2").unlink()
    assert "raspi-config" in seen(tmp_path)["i2c"][2]
    onewire = Thermometers(tmp_path).switch_on()
    onewire.plug("28-3c01b556f1d2", 20.0)
    assert seen(tmp_path)["onewire"][:2] == ("WARN", "not on the bus: 28-0316a2790bff")
    onewire.plug("28-0316a2790bff", 20.0)
    assert seen(tmp_path)["onewire"][0] == "OK"
