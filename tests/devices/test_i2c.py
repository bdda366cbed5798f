"""The I2C driver on simulated chips below the real smbus2: setting up, reading, chips that go and
come, buses that cannot be had."""

import asyncio
import errno
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import smbus2.smbus2
from smbus2 import I2cFunc

from devices.i2c import I2cDevice, I2cSettings
from gateway.config import InvalidConfig, loads
from gateway.core.contracts import Burst, Context, Detailed, Endpoint, Stored, TopicMapped, Watched
from gateway.core.errors import DecodeError
from gateway.core.events import Connected, Disconnected, Event, Failed
from gateway.doctor import sensor_buses
from gateway.doctor.findings import Scene
from gateway.io import i2c_bus, turns
from tests.support.i2c_chips import (
    EXAMPLE,
    HUMID,
    Ads1115,
    Bme280,
    Chip,
    Ina219,
    Memory,
    Sht3x,
    Wires,
    plug,
    trimming,
)
from tests.support.thermometers import Thermometers

ALL: list[dict[str, Any]] = [
    {"id": "outside", "kind": "bme280"},
    {"kind": "sht3x"},
    {"kind": "ads1115", "rate": 860, "channels": [
        {"name": "level", "input": 0, "scale": 100, "offset": -50, "unit": "cm"},
        {"name": "bridge", "input": 2, "minus": 3, "range": 0.256},
    ]},
    {"id": "battery", "kind": "ina219", "shunt": 0.1, "max_current": 2},
    {"id": "meter", "kind": "registers", "address": 0x20, "setup": ["hex:10 03"], "registers": [
        {"name": "flow", "register": 1, "type": "uint16", "scale": 0.1, "unit": "l/min"},
        {"name": "mode", "register": 0x10},
    ]},
]  # fmt: skip


def chips() -> dict[int, Chip]:
    return {
        0x76: Bme280(trimming(EXAMPLE, HUMID)),
        0x44: Sht3x(),
        0x48: Ads1115((1.0, 0.0, 1.6, 1.5)),
        0x40: Ina219(0.1, 1.5, 12.0),
        0x20: Memory({1: b"\x00\x7b"}),
    }


class Listener:
    """A bus at work, and what came of it."""

    def __init__(self, path: Path, root: Path, items: list[dict[str, Any]], **more: Any) -> None:
        self.path = path
        self.events: list[Event] = []
        self.frames: list[tuple[str, bytes]] = []
        context = Context("gw", "berrygate", root, Endpoint(), self.events.append)
        self.settings = I2cSettings.model_validate(
            {"bus": str(path), "interval": "50ms", "chips": items, **more}
        )
        self.device = I2cDevice("i2c", self.settings, context, root)
        self.codec = self.settings.codec.build()

    async def pump(self) -> None:
        async for burst in self.device.listen():
            self.take(burst)

    def take(self, burst: Burst) -> None:
        self.frames += zip(burst.topics, burst.payloads, strict=True)
        burst.done(Stored())

    def values(self, chip: str) -> list[Mapping[str, Any]]:
        """What a chip said, without what cannot be decoded."""
        found = []
        for topic, frame in self.frames:
            if topic == chip:
                try:
                    ((_, _, values),) = self.codec.addressed(topic, topic, frame, 0)
                except DecodeError:
                    continue
                found.append(values)
        return found

    def counts(self) -> Counter[str]:
        return Counter(topic for topic, _ in self.frames)


async def until(condition: Callable[[], Any], timeout: float = 20) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    found = Wires()
    monkeypatch.setattr(smbus2.smbus2, "ioctl", found.ioctl)
    return found


@asynccontextmanager
async def listening(
    wires: Wires, directory: Path, items: list[dict[str, Any]], there: Mapping[int, Chip],
    **more: Any,
) -> AsyncIterator[Listener]:  # fmt: skip
    path = wires.bus(directory / "i2c-1", there)
    found = Listener(path, directory, items, **more)
    task = asyncio.create_task(found.pump())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# -- reading --------------------------------------------------------------------------------


async def test_every_kind_of_chip(wires: Wires, tmp_path: Path) -> None:
    there = chips()
    async with listening(wires, tmp_path, ALL, there) as found:
        device = found.device
        for contract in (Watched, Detailed, TopicMapped):
            assert isinstance(device, contract)
        names = ["outside", "sht3x", "ads1115", "battery", "meter"]
        await until(lambda: all(len(found.values(name)) > 2 for name in names))
        assert found.values("outside")[-1] == {
            "temperature": pytest.approx(25.08, abs=0.005),
            "pressure": pytest.approx(1006.53, abs=0.005),
            "humidity": pytest.approx(62.46, abs=20),
        }
        assert found.values("sht3x")[-1] == {
            "temperature": 25.0, "humidity": pytest.approx(50.0, abs=0.001),
        }  # fmt: skip
        assert found.values("ads1115")[-1] == {
            "level": pytest.approx(50.0, abs=0.01), "bridge": pytest.approx(0.1, abs=1e-5),
        }  # fmt: skip
        assert found.values("battery")[-1] == {
            "voltage": 12.0, "current": pytest.approx(1.5, abs=0.001),
            "power": pytest.approx(18.0, abs=0.02), "shunt_voltage": pytest.approx(0.15),
        }  # fmt: skip
        assert found.values("meter")[-1] == {"flow": pytest.approx(12.3), "mode": 3.0}
        assert found.codec.units("meter") == {"flow": "l/min"}
        assert found.codec.units("outside")["pressure"] == "hPa"
        assert device.trouble == device.concern == ""
        assert device.details()["bus"] == str(found.path)
        memory = there[0x20]
        assert isinstance(memory, Memory)
        assert memory.written == [b"\x10\x03"]  # once
    assert device.trouble == "stopped"
    assert not [link for link in open_files() if link.endswith("i2c-1")]


def open_files() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except OSError:
            continue
    return found


async def test_each_reading_of_a_bme280_is_a_measurement_of_its_own(
    wires: Wires, tmp_path: Path
) -> None:
    chip = Bme280(trimming(EXAMPLE, HUMID))
    async with listening(wires, tmp_path, [{"kind": "bme280"}], {0x76: chip}) as found:
        await until(lambda: len(found.frames) >= 5)
        assert chip.measured in (len(found.frames), len(found.frames) + 1)
        chip.adc = (530_000, 415_148, 30_000)
        before = len(found.frames)
        await until(lambda: len(found.frames) > before + 1)
        assert found.values("bme280")[-1]["temperature"] > 28


@pytest.mark.parametrize("oversampling", [1, 16])
async def test_a_bmp280_is_read_and_not_taken_for_a_bme280(
    wires: Wires, tmp_path: Path, oversampling: int
) -> None:
    chip = Bme280(trimming(EXAMPLE, HUMID), identity=0x58)
    item = {"kind": "bmp280", "oversampling": oversampling}
    async with listening(wires, tmp_path, [item], {0x76: chip}) as found:
        await until(lambda: found.values("bmp280"))
        assert found.values("bmp280")[0].keys() == {"temperature", "pressure"}
    async with listening(wires, tmp_path, [{"kind": "bme280"}], {0x76: chip}) as found:
        await until(lambda: "connecting" not in found.device.trouble)
        await until(lambda: found.device.trouble)
        assert found.device.trouble == "bme280 (at 0x76): the chip is a bmp280"
        assert found.device.details()["chips"][0]["fix"] == "kind: bmp280"
        assert not found.frames


async def test_an_sht3x_that_was_left_measuring_is_stopped(wires: Wires, tmp_path: Path) -> None:
    chip = Sht3x()
    chip.periodic = True
    async with listening(wires, tmp_path, [{"kind": "sht3x"}], {0x44: chip}) as found:
        await until(lambda: found.values("sht3x"))
        assert not chip.periodic


async def test_a_damaged_answer_is_asked_for_again(wires: Wires, tmp_path: Path) -> None:
    chip = Sht3x()
    chip.damaged = 2
    async with listening(wires, tmp_path, [{"kind": "sht3x"}], {0x44: chip}) as found:
        await until(lambda: len(found.frames) > 2)
        assert len(found.values("sht3x")) == len(found.frames)
        chip.damaged = 10**6
        await until(lambda: found.device.trouble)
        # The last one is kept, to be looked at; and it says so.
        assert "checksum" in found.device.trouble
        assert len(found.frames) == len(found.values("sht3x")) + 1
        chip.damaged = 0
        await until(lambda: not found.device.trouble)


async def test_an_ina219_that_lost_its_calibration_says_no_wrong_current(
    wires: Wires, tmp_path: Path
) -> None:
    chip = Ina219(0.1, 1.5, 12.0)
    async with listening(wires, tmp_path, [{"kind": "ina219"}], {0x40: chip}) as found:
        for _ in range(3):
            before = len(found.frames)
            await until(lambda before=before: len(found.frames) > before + 1)
            chip.power_on()  # too short to be missed
        before = len(found.frames)
        await until(lambda: len(found.frames) > before + 1)
        currents = {round(values["current"], 2) for values in found.values("ina219")}
        assert currents == {1.5}
        assert not found.device.trouble


async def test_each_chip_has_its_own_pace(wires: Wires, tmp_path: Path) -> None:
    items = [ALL[0] | {"interval": "300ms"}, ALL[1] | {"interval": "60ms"}]
    async with listening(wires, tmp_path, items, chips()) as found:
        await until(lambda: found.counts()["outside"] >= 4)
        assert found.counts()["sht3x"] >= 3 * found.counts()["outside"] - 5


# -- chips that go and come -----------------------------------------------------------------


async def test_a_chip_that_is_pulled_is_named_and_the_others_go_on(
    wires: Wires, tmp_path: Path
) -> None:
    there = chips()
    async with listening(wires, tmp_path, ALL, there) as found:
        await until(lambda: len(found.counts()) == 5)
        plug(found.path, *(address for address in there if address != 0x76))
        began = time.monotonic()
        await until(lambda: found.device.concern, 10)
        assert found.device.concern == "outside (bme280 at 0x76): no answer"
        assert found.device.trouble == ""
        lost = [each for each in found.events if isinstance(each, Disconnected)]
        assert [each.reason for each in lost] == [found.device.concern]
        (row,) = [row for row in found.device.details()["chips"] if row["failing"]]
        assert "i2cdetect -y 1" in row["fix"]

        asked, others = wires.transfers[0x76], found.counts()
        await asyncio.sleep(1.0)
        # Without backing off it would be asked 3 times each 50 ms, 20 times as often as it now is.
        assert wires.transfers[0x76] - asked <= 18
        for name in ("sht3x", "ads1115", "battery", "meter"):
            assert found.counts()[name] - others[name] >= 5

        plug(found.path, *there)
        await until(lambda: not found.device.concern, 35)
        before = found.counts()["outside"]
        await until(lambda: found.counts()["outside"] > before + 2)
        assert there[0x76].begun == 2
        # It was set up again, for it forgot everything.
        temperatures = [values["temperature"] for values in found.values("outside")]
        assert temperatures == pytest.approx([25.08] * len(temperatures), abs=0.01)
        assert len(temperatures) == found.counts()["outside"]
        assert [type(each) for each in found.events[-2:]] == [Disconnected, Connected]
        print(f"named and back after {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("item", ALL, ids=lambda item: item["kind"])
async def test_every_kind_is_set_up_again_when_it_is_back(
    wires: Wires, tmp_path: Path, item: dict[str, Any]
) -> None:
    async with listening(wires, tmp_path, [item], chips()) as found:
        name = item.get("id", item["kind"])
        await until(lambda: found.values(name))
        before = found.values(name)[0]
        plug(found.path)
        await until(lambda: found.device.trouble)
        assert f"at 0x{chip_address(item):02x}): no answer" in found.device.trouble
        plug(found.path, *chips())
        await until(lambda: not found.device.trouble, 35)
        count = len(found.values(name))
        await until(lambda: len(found.values(name)) > count + 1)
        assert found.values(name)[-1] == before


def chip_address(item: dict[str, Any]) -> int:
    return I2cSettings.model_validate({"chips": [item]}).chips[0].place


async def test_a_chip_that_is_read_rarely_is_missed_soon(
    wires: Wires, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LOOK", 0.1)
    items = [ALL[0] | {"interval": "1h"}, ALL[1]]
    async with listening(wires, tmp_path, items, chips()) as found:
        await until(lambda: len(found.counts()) == 2)
        await asyncio.sleep(0.5)
        assert found.counts()["outside"] == 1  # a sign of life is no reading
        plug(found.path, 0x44)
        await until(lambda: "outside" in found.device.concern, 10)


async def test_a_passing_fault_is_not_told(wires: Wires, tmp_path: Path) -> None:
    left = Counter({0x76: 0})

    def fault(address: int) -> None:
        if left[address]:
            left[address] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    wires.fault = fault
    async with listening(wires, tmp_path, [ALL[0]], chips()) as found:
        for _ in range(5):
            before = len(found.frames)
            await until(lambda before=before: len(found.frames) > before)
            left[0x76] = 2
        assert not [event for event in found.events if isinstance(event, Disconnected)]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ETIMEDOUT, "the bus is held: timed out"),
        (errno.EAGAIN, "another master has the bus"),
        (errno.EIO, "the transfer failed: Input/output error"),
    ],
)
async def test_what_is_wrong_with_a_bus_is_said(
    wires: Wires, tmp_path: Path, number: int, words: str
) -> None:
    def fault(address: int) -> None:
        raise OSError(number, os.strerror(number))

    wires.fault = fault
    async with listening(wires, tmp_path, [ALL[0]], chips()) as found:
        await until(lambda: found.device.trouble not in ("", "connecting"))
        assert found.device.trouble == f"outside (bme280 at 0x76): {words}"
        assert found.device.details()["chips"][0]["fix"]


async def test_a_bus_that_hangs_holds_up_nobody_else(
    wires: Wires, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(i2c_bus, "_PATIENCE", 0.2)
    hangs = [True]

    def fault(address: int) -> None:
        while hangs[0]:
            time.sleep(0.01)

    wires.fault = fault
    async with listening(wires, tmp_path, ALL[:2], chips()) as found:
        ticks = 0
        async with asyncio.timeout(20):
            while "has not come back" not in found.device.trouble:
                ticks += 1
                await asyncio.sleep(0.005)
        assert ticks > 10  # the loop went on
        hangs[0] = False
        await until(lambda: len(found.counts()) == 2, 70)
        await until(lambda: not found.device.trouble, 70)


async def test_a_chip_that_a_driver_of_the_kernel_has_is_left_alone(
    wires: Wires, tmp_path: Path
) -> None:
    place = tmp_path / "sys/bus/i2c/devices/1-0076"
    place.mkdir(parents=True)
    (tmp_path / "sys/bus/i2c/drivers/bmp280").mkdir(parents=True)
    (place / "driver").symlink_to(tmp_path / "sys/bus/i2c/drivers/bmp280")
    async with listening(wires, tmp_path, ALL[:2], chips()) as found:
        await until(lambda: found.device.concern)
        assert "the kernel's driver bmp280 has the chip" in found.device.concern
        assert 0x76 not in wires.transfers
        await until(lambda: found.values("sht3x"))


# -- the bus itself -------------------------------------------------------------------------


async def test_an_adapter_that_is_pulled_and_comes_back(wires: Wires, tmp_path: Path) -> None:
    there = chips()
    async with listening(wires, tmp_path, ALL, there) as found:
        await until(lambda: len(found.counts()) == 5)
        found.path.unlink()
        await until(lambda: found.device.trouble)
        assert found.device.trouble.startswith(f"{found.path} is ")
        await until(lambda: "I2C is switched off" in found.device.trouble)
        assert "raspi-config" in found.device.details()["fix"]
        assert "dtparam=i2c_arm=on" in found.device.details()["fix"]
        assert found.device.concern == ""
        count = found.counts()
        plug(found.path, *there)
        await until(lambda: not found.device.trouble, 15)
        await until(lambda: all((found.counts() - count)[name] for name in count))
        assert any(isinstance(each, Connected) for each in found.events[-1:])


async def test_buses_that_cannot_be_had_say_why(
    wires: Wires, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trouble(path: Path) -> Listener:
        found = Listener(path, tmp_path, ALL)
        task = asyncio.create_task(found.pump())
        await until(lambda: found.device.trouble != "connecting")
        await asyncio.sleep(0.05)
        self_said = found.device.trouble
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert self_said != "stopped"
        found.device._away = self_said
        return found

    assert "I2C is switched off" in (await trouble(tmp_path / "dev/i2c-1")).device.trouble
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/i2c-3").touch()
    found = await trouble(tmp_path / "dev/i2c-1")
    assert found.device.trouble.endswith(f"is not there; here are: {tmp_path}/dev/i2c-3")
    assert "raspi-config" in found.device.details()["fix"]
    assert "dtoverlay" in (await trouble(tmp_path / "dev/i2c-4")).device.details()["fix"]
    found = await trouble(Path("/dev/null"))  # the real ioctl
    assert found.device.trouble == "/dev/null is no I2C bus"

    wires.functions = int(I2cFunc.SMBUS_BYTE_DATA)
    found = await trouble(wires.bus(tmp_path / "dev/i2c-9", chips()))
    assert "SMBus only" in found.device.trouble

    def refuse(*args: Any) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    found = await trouble(tmp_path / "dev/i2c-3")
    assert found.device.trouble == f"we may not use {tmp_path}/dev/i2c-3"
    assert found.device.denied
    assert "usermod -aG i2c" in found.device.details()["fix"]
    assert any(isinstance(each, Failed) and each.error == "denied" for each in found.events)


# -- configuration --------------------------------------------------------------------------


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
    for name in ("devices.i2c", "gateway.io.i2c_bus"):
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
