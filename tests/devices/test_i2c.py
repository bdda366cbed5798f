"""The I2C driver on simulated chips below the real smbus2: setting up, reading, chips that go and
come, buses that cannot be had."""

import asyncio
import errno
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from devices.i2c import I2cSettings
from gateway.core.contracts import Detailed, TopicMapped, Watched
from gateway.core.events import Connected, Disconnected
from gateway.io import turns
from tests.support.i2c_at_work import (  # noqa: F401 - fixtures
    ALL,
    Listener,
    chips,
    listening,
    open_files,
    simulated,
    until,
)
from tests.support.i2c_chips import (
    EXAMPLE,
    HUMID,
    Bme280,
    Ina219,
    Memory,
    Sht3x,
    trimming,
)
from tests.support.i2c_wires import Wires, plug

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
        assert device.info_of("outside") == {
            "source": "i2c", "bus": str(found.path), "address": "0x76", "model": "BME280",
        }  # fmt: skip
        assert "model" not in device.info_of("meter")
        memory = there[0x20]
        assert isinstance(memory, Memory)
        assert memory.written == [b"\x10\x03"]  # once
    assert device.trouble == "stopped"
    # A transfer under way is let end in its thread.
    await until(lambda: not [link for link in open_files() if link.endswith("i2c-1")])


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


async def test_a_chip_that_is_slow_is_waited_for(wires: Wires, tmp_path: Path) -> None:
    there = chips()
    for chip in there.values():
        chip.late = 0.03
    async with listening(wires, tmp_path, ALL[:4], there) as found:
        await until(lambda: len(found.counts()) == 4)
        assert found.values("outside")[0]["temperature"] == pytest.approx(25.08, abs=0.005)
        assert found.values("sht3x")[0]["temperature"] == 25.0
        assert found.values("ads1115")[0]["level"] == pytest.approx(50.0, abs=0.01)
        assert found.values("battery")[0]["current"] == pytest.approx(1.5, abs=0.001)
        assert not [event for event in found.events if isinstance(event, Disconnected)]


async def test_a_chip_that_is_never_done_is_named(wires: Wires, tmp_path: Path) -> None:
    there = chips()
    there[0x40].late = 1e9
    async with listening(wires, tmp_path, [ALL[1], ALL[3]], there) as found:
        await until(lambda: found.device.concern)
        assert found.device.concern.startswith("battery (ina219 at 0x40): it is not done after")
        await until(lambda: found.values("sht3x"))


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
        assert found.device.trouble_of("outside") == "no answer"
        assert found.device.trouble_of("sht3x") == ""
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
