"""Thermometers on 1-Wire, as files that a test writes in the kernel's place."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devices import onewire
from devices.onewire import OneWireDevice, OneWireSettings
from gateway.config import InvalidConfig, loads
from gateway.core.contracts import Burst, Context, Detailed, Endpoint, Stored, TopicMapped, Watched
from gateway.core.errors import DecodeError
from gateway.core.events import Connected, Disconnected, Event
from tests.support.thermometers import Thermometers, scratchpad, w1_slave

BOILER, GARDEN = "28-0316a2790bff", "28-3c01b556f1d2"


class Listener:
    """The buses at work, and what came of it."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.events: list[Event] = []
        self.frames: list[tuple[str, bytes]] = []
        context = Context("gw", "berrygate", root, Endpoint(), self.events.append)
        built = OneWireSettings.model_validate({"interval": "100ms", **settings})
        self.device = OneWireDevice("onewire", built, context, root)
        self.codec = built.codec.build()

    async def pump(self) -> None:
        async for burst in self.device.listen():
            self.take(burst)

    def take(self, burst: Burst) -> None:
        self.frames += zip(burst.topics, burst.payloads, strict=True)
        burst.done(Stored())

    def values(self, name: str) -> list[Mapping[str, Any]]:
        """What a device said, without what cannot be decoded."""
        return [values for values in map(self._value, self.told(name)) if values]

    def told(self, name: str) -> list[tuple[str, bytes]]:
        return [each for each in self.frames if self.device.device_of(each[0]) == name]

    def _value(self, frame: tuple[str, bytes]) -> Mapping[str, Any] | None:
        try:
            ((_, _, values),) = self.codec.addressed(frame[0], "", frame[1], 0)
        except DecodeError:
            return None
        return values


async def until(condition: Callable[[], Any], timeout: float = 20) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(root: Path, **settings: Any) -> AsyncIterator[Listener]:
    found = Listener(root, **settings)
    task = asyncio.create_task(found.pump())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bus(tmp_path: Path) -> Thermometers:
    return Thermometers(tmp_path).switch_on()


async def test_sensors_are_found_and_named(bus: Thermometers) -> None:
    bus.plug(BOILER, 61.5)
    bus.plug(GARDEN, -10.125)
    (bus.root / "sys/bus/w1/devices/00-400000000000").mkdir()  # noise, taken for a sensor
    async with listening(bus.root, names={BOILER: "boiler"}) as found:
        device = found.device
        for contract in (Watched, Detailed, TopicMapped):
            assert isinstance(device, contract)
        await until(lambda: len(found.values("boiler")) > 2 and len(found.values(GARDEN)) > 2)
        assert found.values("boiler")[-1] == {"temperature": 61.5}
        assert found.values(GARDEN)[-1] == {"temperature": -10.125}
        assert found.codec.units("boiler") == {"temperature": "°C"}
        assert device.trouble == device.concern == ""
        rows = {row["sensor"]: row["label"] for row in device.details()["sensors"]}
        assert device.info_of("boiler") == {
            "source": "onewire", "model": "DS18B20", "serial": BOILER,
        }  # fmt: skip
        assert rows == {BOILER: f"boiler (DS18B20 {BOILER})", GARDEN: f"{GARDEN} (DS18B20)"}
    assert device.trouble == "stopped"


async def test_a_sensor_that_comes_later_and_one_that_goes(bus: Thermometers) -> None:
    bus.plug(BOILER, 61.5)
    async with listening(bus.root) as found:
        await until(lambda: found.values(BOILER))
        bus.plug(GARDEN, 7.0)
        await until(lambda: found.values(GARDEN), 10)
        bus.unplug(BOILER)
        await until(lambda: found.device.concern, 10)
        assert found.device.concern == f"{BOILER} (DS18B20): it is not on the bus"
        assert found.device.trouble_of(BOILER) == "it is not on the bus"
        assert found.device.trouble_of(GARDEN) == ""
        before = len(found.values(GARDEN))
        await until(lambda: len(found.values(GARDEN)) > before + 3)
        assert [type(each) for each in found.events] == [Connected, Disconnected]
        turn = found.device._turns.get(BOILER)
        assert turn is not None
        turn.due += 60.0  # as when it was away for long
        bus.plug(BOILER, 62.0)
        # As soon as the kernel has it, however rarely it was asked by then.
        await until(lambda: not found.device.concern, 5)
        await until(lambda: found.values(BOILER)[-1] == {"temperature": 62.0})


async def test_a_sensor_that_is_named_is_missed(bus: Thermometers) -> None:
    bus.plug(BOILER, 61.5)
    async with listening(bus.root, names={GARDEN: "garden"}) as found:
        await until(lambda: found.device.concern)
        assert found.device.concern == f"garden (DS18B20 {GARDEN}): it is not on the bus"
        await until(lambda: found.values(BOILER))


async def test_a_damaged_line_is_read_again_then_kept_and_named(bus: Thermometers) -> None:
    bus.plug(BOILER, 61.5)
    bus.plug(GARDEN, 7.0)
    async with listening(bus.root) as found:
        await until(lambda: found.values(BOILER))
        bus.says(BOILER, w1_slave(b"\xff" * 9, -62))
        await until(lambda: found.device.concern, 10)
        assert found.device.concern == f"{BOILER} (DS18B20): the checksum is wrong"
        good, letters = len(found.values(BOILER)), len(found.told(BOILER))
        assert letters == good + 1
        before = len(found.values(GARDEN))
        await until(lambda: len(found.values(GARDEN)) > before + 5)
        # Ever more rarely, for each costs 0.75 s of the bus.
        assert len(found.told(BOILER)) - letters <= 2
        bus.measures(BOILER, 61.0)
        await until(lambda: found.values(BOILER)[-1] == {"temperature": 61.0}, 35)
        assert found.device.concern == ""


async def test_a_passing_error_is_read_over(
    bus: Thermometers, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.plug(BOILER, 61.5)
    wrong, read = [2], onewire.onewire.read

    def noisy(sensor: Path) -> tuple[str, bytes]:
        file, data = read(sensor)
        if wrong[0]:
            wrong[0] -= 1
            return file, data.replace(b"YES", b"NO")
        return file, data

    monkeypatch.setattr(onewire.onewire, "read", noisy)
    async with listening(bus.root) as found:
        await until(lambda: len(found.told(BOILER)) > 3)
        assert len(found.values(BOILER)) == len(found.told(BOILER))
        assert not found.device.concern


async def test_power_on_values_are_refused_and_85_degrees_are_not(bus: Thermometers) -> None:
    bus.plug(BOILER, 84.9375)
    async with listening(bus.root) as found:
        await until(lambda: found.values(BOILER))
        bus.measures(BOILER, 85.0)
        await until(lambda: found.values(BOILER)[-1] == {"temperature": 85.0})
        count = len(found.values(BOILER))
        bus.says(BOILER, w1_slave(scratchpad(0x0550, byte6=0x0C), 85_000))
        await until(lambda: found.device.trouble)
        assert "it has not measured" in found.device.trouble
        assert {tuple(each.values()) for each in found.values(BOILER)[count:]} <= {(85.0,)}
        assert "third wire" in found.device.details()["sensors"][0]["fix"]


async def test_without_a_w1_slave_file_the_temperature_is_taken(bus: Thermometers) -> None:
    place = bus.plug("3b-0000001a2b3c", 0.0)
    (place / "w1_slave").unlink()
    (place / "temperature").write_text("612250\n")
    async with listening(bus.root) as found:
        await until(lambda: found.values("3b-0000001a2b3c"))
        assert found.values("3b-0000001a2b3c")[-1] == {"temperature": 612.25}
        (place / "temperature").write_text("")
        await until(lambda: "no answer" in found.device.trouble)
        (place / "temperature").unlink()
        await until(lambda: found.device.trouble)


@pytest.mark.parametrize("interval", ["100ms", "1h"])
async def test_resolution_is_set_and_set_again(
    bus: Thermometers, monkeypatch: pytest.MonkeyPatch, interval: str
) -> None:
    monkeypatch.setattr(onewire, "_FIND", 0.1)
    place = bus.plug(BOILER, 20.0)
    async with listening(bus.root, resolution=9, interval=interval) as found:
        await until(lambda: (place / "resolution").read_text() == "9\n")
        bus.unplug(BOILER)
        await until(lambda: not found.device._here, 10)
        place = bus.plug(BOILER, 20.0)
        await until(lambda: (place / "resolution").read_text() == "9\n", 10)


async def test_a_resolution_that_we_may_not_set_is_said(
    bus: Thermometers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bus.plug(BOILER, 20.0)
    write = Path.write_text

    def refuse(path: Path, *args: Any, **more: Any) -> int:
        if path.name == "resolution":
            raise PermissionError(13, "Permission denied")
        return write(path, *args, **more)

    monkeypatch.setattr(Path, "write_text", refuse)
    async with listening(bus.root, resolution=10) as found:
        await until(lambda: len(found.values(BOILER)) > 3)
        (row,) = found.device.details()["sensors"]
        assert "as root: echo 10 >" in row["note"]
        assert caplog.text.count("as root") == 1


async def test_a_machine_without_a_bus_or_without_sensors(tmp_path: Path) -> None:
    bus = Thermometers(tmp_path)
    async with listening(tmp_path) as found:
        await until(lambda: found.device.trouble != "connecting")
        assert found.device.trouble == "this machine has no 1-Wire bus: it is switched off"
        assert "dtoverlay=w1-gpio" in found.device.details()["fix"]
        bus.switch_on()
        await until(lambda: found.device.trouble == "no thermometer is on the bus", 10)
        bus.plug(BOILER, 21.0)
        await until(lambda: found.values(BOILER), 10)
        assert found.device.trouble == found.device.details()["concern"] or not found.device.trouble
        bus.switch_off()
        await until(lambda: "no 1-Wire bus" in found.device.trouble, 10)
        bus.switch_on()
        bus.plug(BOILER, 22.0)
        await until(lambda: found.values(BOILER)[-1] == {"temperature": 22.0}, 10)


async def test_a_kernel_that_hangs_holds_up_nobody_else(
    bus: Thermometers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onewire, "_PATIENCE", 0.2)
    place = bus.plug(BOILER, 21.0)
    (place / "w1_slave").unlink()
    os.mkfifo(place / "w1_slave")  # to open it waits for a writer that never comes
    async with listening(bus.root) as found:
        ticks = 0
        async with asyncio.timeout(20):
            while "has not answered within" not in found.device.trouble:
                ticks += 1
                await asyncio.sleep(0.005)
        assert ticks > 10
        fd = os.open(place / "w1_slave", os.O_WRONLY)
        os.close(fd)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("names: {28-0316A2790BFF: a}", "is no sensor's id"),
        ("names: {99-0316a2790bff: a}", "is no sensor's id"),
        (f"names: {{{BOILER}: a, {GARDEN}: a}}", 'two sensors are called "a"'),
        ("resolution: 13", "at most 12"),
        ("interval: 10", "duration without a unit"),
    ],
)
def test_what_cannot_be_is_said(written: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        loads(f"devices: [{{type: onewire, {written}}}]")
