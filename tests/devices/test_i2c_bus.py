"""I2C buses that cannot be had, hang or go away."""

import asyncio
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from smbus2 import I2cFunc

from gateway.core.events import Connected, Disconnected, Failed
from gateway.io.i2c import bus as i2c_bus
from tests.support.i2c_at_work import (  # noqa: F401 - fixtures
    ALL,
    Listener,
    chips,
    listening,
    open_files,
    simulated,
    until,
)
from tests.support.i2c_wires import Wires, plug


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


async def test_an_adapter_that_opens_and_does_nothing_is_not_opened_all_the_time(
    wires: Wires, tmp_path: Path
) -> None:
    broken = [True]

    def fault(address: int) -> None:
        if broken[0]:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    wires.fault = fault
    async with listening(wires, tmp_path, ALL, chips()) as found:
        await until(lambda: "is gone" in found.device.trouble)
        asked = wires.transfers.total()
        await asyncio.sleep(1.0)
        assert wires.transfers.total() - asked <= 3
        assert [type(each) for each in found.events] == [Disconnected]
        broken[0] = False
        await until(lambda: not found.device.trouble, 10)


async def test_a_bus_that_is_given_up_in_the_middle_of_a_transfer_is_closed(
    wires: Wires, tmp_path: Path
) -> None:
    hangs = [True]

    def fault(address: int) -> None:
        while hangs[0]:
            time.sleep(0.01)

    wires.fault = fault
    async with listening(wires, tmp_path, ALL[:1], chips()) as found:
        await until(lambda: wires.transfers)
    assert found.device.trouble == "stopped"
    assert [link for link in open_files() if link == str(found.path)]
    hangs[0] = False
    await until(lambda: str(found.path) not in open_files(), 5)


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
