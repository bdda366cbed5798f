"""What is wired to the GPIO header, on gpiozero's mock pins: inputs, counts, storms, errors."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin, MockTriggerPin

from devices.gpio import GpioDevice, GpioSettings
from gateway.core.contracts import (
    Actuator,
    Burst,
    Command,
    Context,
    Described,
    Detailed,
    Device,
    Endpoint,
    Stored,
    Watched,
)
from gateway.core.errors import ConfigError, Denied
from gateway.core.events import Connected, Disconnected, Event
from gateway.io.gpio import edges as gpio_edges
from gateway.io.gpio import factory as gpio_factory
from gateway.io.gpio import output as output
from gateway.io.gpio.counter import Pace


class Bench:
    """A device at work on mock pins, and what came of it."""

    def __init__(self, directory: Path, pins: dict[str, Any], **settings: Any) -> None:
        self.events: list[Event] = []
        self.bursts: list[Burst] = []
        self.factory = gpio_factory.steady(MockFactory(pin_class=MockPWMPin))
        self.reachable = True
        self.open = asyncio.Event()
        self.open.set()
        context = Context(
            "gw", "berrygate", directory, Endpoint(), self.events.append,
            facts={"broker_connected": lambda: self.reachable},
        )  # fmt: skip
        built = GpioSettings.model_validate({"pins": pins, **settings})
        self.device = GpioDevice("board", built, context, lambda folder: self.factory)
        self.task: asyncio.Task[None] | None = None

    async def pump(self) -> None:
        async for burst in self.device.listen():
            await self.open.wait()
            self.bursts.append(burst)
            burst.done(Stored())

    def pin(self, number: int) -> Any:
        return self.factory.pin(number)

    async def tell(self, name: str, expires: int = 0, **args: Any) -> Any:
        return await self.device.execute(Command(name, args, expires=expires))

    @property
    def readings(self) -> list[Any]:
        return [reading for burst in self.bursts for reading in burst.readings or ()]

    def values(self, metric: str) -> list[Any]:
        """Its values, each as often as it changed."""
        found: list[Any] = []
        for reading in self.readings:
            value = reading.values.get(metric)
            if not found or found[-1] != value:
                found.append(value)
        return found

    def seen(self, metric: str) -> list[Any]:
        """Its values in each reading that has it."""
        return [r.values[metric] for r in self.readings if metric in r.values]

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def working(found: Bench) -> AsyncIterator[Bench]:
    found.task = asyncio.create_task(found.pump())
    try:
        await until(lambda: bool(found.bursts) or bool(found.task and found.task.done()))
        yield found
    finally:
        await found.stop()


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    output._held.clear()


async def test_what_it_is(tmp_path: Path) -> None:
    pins = {
        "door": {"kind": "contact", "pin": "BOARD11"},
        "meter": {"kind": "counter", "pin": 5, "unit": "kWh", "rate_unit": "kW"},
        "fan": {"kind": "pwm", "pin": "GPIO18"},
    }
    async with working(Bench(tmp_path, pins)) as found:
        device = found.device
        for contract in (Device, Watched, Detailed, Described, Actuator):
            assert isinstance(device, contract)
        assert device.trouble == ""
        assert [type(event) for event in found.events] == [Connected]
        assert device.details()["pins"]["door"] == {"kind": "contact", "pin": 17, "open": True}
        info = device.info()
        assert info["source"] == "gpio"
        assert info["units"] == {"meter.total": "kWh", "meter.rate": "kW", "fan": "%"}
        # All of it in one reading at once, so that nobody waits for the door to be opened.
        first = found.readings[0]
        assert first.values == {"door": True, "meter.total": 0.0, "fan": 0.0}
        assert len(found.readings) == 1
    assert device.trouble == "stopped"


async def test_a_change_is_told_with_the_time_at_which_it_began(tmp_path: Path) -> None:
    pins = {
        "door": {"kind": "contact", "pin": 17, "debounce": "400ms"},
        "lamp": {"kind": "led", "pin": 22},
    }
    async with working(Bench(tmp_path, pins)) as found:
        contact = found.pin(17)
        contact.drive_low()
        began = time.time_ns()
        for _ in range(40):
            contact.drive_high()
            contact.drive_low()
            await asyncio.sleep(0.005)
        await until(lambda: found.values("door") == [True, False])
        told = time.time_ns()
        (closed,) = [r for r in found.readings if r.values["door"] is False]
        assert told - began >= 400e6
        assert abs(closed.time - began) < abs(closed.time - told) / 3
        assert closed.values == {"door": False, "lamp": False}


async def test_what_was_told_meanwhile_stays_the_last(tmp_path: Path) -> None:
    """A contact is certain only when it has come to rest; by then something later may be known."""
    pins = {
        "door": {"kind": "contact", "pin": 17, "debounce": "200ms"},
        "lamp": {"kind": "led", "pin": 22},
    }
    async with working(Bench(tmp_path, pins)) as found:
        found.pin(17).drive_low()
        await asyncio.sleep(0.05)
        await found.tell("lamp", value=True)
        await until(lambda: found.values("door")[-1] is False)
        times = [reading.time for reading in found.readings]
        newest = max(found.readings, key=lambda reading: reading.time)
        assert newest.values == {"door": False, "lamp": True}
        assert times != sorted(times)  # the change itself has its own time
        assert len({time // 1_000_000 for time in times}) == len(times)


async def test_bouncing_and_noise_are_no_changes(tmp_path: Path) -> None:
    pins = {"bell": {"kind": "button", "pin": 17, "debounce": "100ms"}}
    async with working(Bench(tmp_path, pins)) as found:
        button = found.pin(17)
        for _ in range(50):
            button.drive_low()
            button.drive_high()
        await asyncio.sleep(0.25)
        assert found.values("bell") == [False]
        for _ in range(20):
            button.drive_high()
            button.drive_low()
        await until(lambda: found.values("bell") == [False, True])
        assert found.seen("bell.event") == ["press"]
        assert found.device.details()["changes"] >= 130


async def test_held_and_pressed_twice(tmp_path: Path) -> None:
    pins = {
        "bell": {
            "kind": "button", "pin": 17, "debounce": "5ms", "hold": "300ms", "double": "5s",
        }
    }  # fmt: skip
    async with working(Bench(tmp_path, pins)) as found:
        button = found.pin(17)
        button.drive_low()
        await until(lambda: found.seen("bell.event") == ["press", "hold"])
        press, hold = (r for r in found.readings if "bell.event" in r.values)
        assert abs(hold.time - press.time - 300_000_000) < 5_000_000  # by the clock of the press
        button.drive_high()
        await until(lambda: found.values("bell") == [False, True, False])
        for _ in range(2):
            button.drive_low()
            await asyncio.sleep(0.05)
            button.drive_high()
            await asyncio.sleep(0.05)
        await until(lambda: len(found.seen("bell.event")) == 4)
        # The one that made it a double press belongs to it; the next begins anew.
        assert found.seen("bell.event") == ["press", "hold", "double", "press"]


async def test_motion_and_an_input_that_is_turned_round(tmp_path: Path) -> None:
    pins = {
        "hall": {"kind": "motion", "pin": 17},
        "gate": {"kind": "contact", "pin": 27, "active": "high", "debounce": "0s"},
    }
    async with working(Bench(tmp_path, pins)) as found:
        assert found.readings[0].values == {"hall": False, "gate": False}
        found.pin(17).drive_high()
        await until(lambda: found.values("hall") == [False, True])
        found.pin(27).drive_low()
        await until(lambda: found.values("gate") == [False, True])


async def test_all_of_it_is_told_now_and_then(tmp_path: Path) -> None:
    pins = {"door": {"kind": "contact", "pin": 17}}
    async with working(Bench(tmp_path, pins, interval="100ms")) as found:
        await until(lambda: len(found.readings) >= 5)
        assert {reading.values["door"] for reading in found.readings} == {True}


async def test_a_knob(tmp_path: Path) -> None:
    pins = {"knob": {"kind": "encoder", "a": 17, "b": 27}}
    async with working(Bench(tmp_path, pins)) as found:
        a, b = found.pin(17), found.pin(27)

        def turn(first: Any, second: Any) -> None:
            first.drive_low()
            first.drive_high()  # it bounces
            first.drive_low()
            second.drive_low()
            first.drive_high()
            second.drive_high()

        for _ in range(12):
            turn(a, b)
        await until(lambda: found.values("knob")[-1] == 12.0)
        for _ in range(20):
            turn(b, a)
        await until(lambda: found.values("knob")[-1] == -8.0)
        assert len(found.readings) < 20  # while it turns it is told now and then
        assert (await found.tell("knob", value=3)).status == "ok"
        turn(a, b)
        await until(lambda: found.values("knob")[-1] == 4.0)


async def test_half_a_step_is_none(tmp_path: Path) -> None:
    pins = {"knob": {"kind": "encoder", "a": 17, "b": 27}}
    async with working(Bench(tmp_path, pins)) as found:
        a, b = found.pin(17), found.pin(27)
        for _ in range(5):
            a.drive_low()
            b.drive_low()
            b.drive_high()
            a.drive_high()
        await asyncio.sleep(0.1)
        assert found.values("knob") == [0.0]


async def test_distance(tmp_path: Path) -> None:
    pins = {
        "tank": {
            "kind": "distance", "trigger": 23, "echo": 24, "interval": "100ms", "samples": 3,
        }
    }  # fmt: skip
    found = Bench(tmp_path, pins)
    echo = found.factory.pin(24, pin_class=MockPWMPin)
    # Mock pins without PWM have no echo of their own.
    found.factory.pin_class = MockTriggerPin
    trigger = found.factory.pin(23, pin_class=MockTriggerPin, echo_pin=echo, echo_time=0.006)
    found.factory.pin = lambda name: {23: trigger, 24: echo}[name]
    async with working(found):
        await until(lambda: len(found.seen("tank")) >= 2)
        near = min(found.seen("tank"))
        assert 0.5 < near / (0.006 * 343.26 / 2) < 3
        trigger.echo_time = 0.018
        await until(lambda: found.seen("tank")[-1] > 1.8 * near)
        assert found.device.concern == ""
        # Nothing answers: no reading, and not the last one again and again either.
        trigger.echo_pin = MockFactory().pin(24)
        await until(lambda: "no echo" in found.device.concern)
        await found.tell("none")
        found.bursts.clear()
        found.device._reports.tell(None, {})
        await asyncio.sleep(0.05)
        assert found.seen("tank") == []
        trigger.echo_pin = echo
        await until(lambda: found.device.concern == "")


# -- counts -------------------------------------------------------------------------------------


METER: dict[str, Any] = {
    "kind": "counter", "pin": 5, "per_unit": 1000, "unit": "kWh", "rate_unit": "kW",
    "interval": "100ms",
}  # fmt: skip


def pulse(pin: Any, count: int, every: float) -> threading.Thread:
    """Pulses from a thread, as gpiozero's are."""

    def run() -> None:
        due = time.monotonic()
        for _ in range(count):
            pin.drive_low()
            pin.drive_high()
            due += every
            time.sleep(max(due - time.monotonic(), 0))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


async def test_no_pulse_is_lost_at_a_thousand_a_second(tmp_path: Path) -> None:
    pins = {"meter": METER, "door": {"kind": "contact", "pin": 17}}
    async with working(Bench(tmp_path, pins)) as found:
        thread = pulse(found.pin(5), 3_000, 0.001)
        while thread.is_alive():
            await asyncio.sleep(0.05)
            busy_until = time.monotonic() + 0.02  # with other things
            while time.monotonic() < busy_until:
                pass
        await until(lambda: found.values("meter.total")[-1] == 3.0)
        assert found.device.dropped == {}
        assert len(found.readings) < 200  # pulses are counted, not told one by one


async def test_rate(tmp_path: Path) -> None:
    async with working(Bench(tmp_path, {"meter": METER})) as found:
        began = time.monotonic()
        thread = pulse(found.pin(5), 60, 0.02)
        while thread.is_alive():
            await asyncio.sleep(0.05)
        pace = 60 / (time.monotonic() - began) * 3.6  # kW
        middle = sorted(found.seen("meter.rate"))[len(found.seen("meter.rate")) // 2]
        assert 0.7 < middle / pace < 1.4
        # Nothing comes any more: it falls, without a jump to nothing.
        since = len(found.seen("meter.rate"))
        await until(lambda: len(found.seen("meter.rate")) > since + 8)
        falling = found.seen("meter.rate")[since + 1 :]
        assert falling == sorted(falling, reverse=True)
        assert 0 < falling[-1] < middle / 5


def test_rate_of_slow_pulses() -> None:
    pace = Pace()
    assert pace.at(0.0) == 0.0
    pace.pulse(0.0)
    assert pace.at(100.0) == 0.0  # one says nothing of how fast they come
    pace.pulse(600.0)
    assert pace.at(601.0) == pace.at(1_200.0) == pytest.approx(1 / 600)
    assert pace.at(1_600.0) == pytest.approx(1 / 1_000)
    pace.pulse(1_800.0)
    assert pace.at(1_801.0) == pytest.approx(1 / 1_200)
    assert pace.at(6_000.0) == 0.0
    pace.pulse(6_000.0)
    for number in range(1, 11):
        pace.pulse(6_000.0 + number / 10)
    assert pace.at(6_001.0) == pytest.approx(10.0)


async def test_pulses_of_a_reed_contact_that_bounces(tmp_path: Path) -> None:
    pins = {"water": {"kind": "counter", "pin": 5, "debounce": "20ms", "interval": "100ms"}}
    async with working(Bench(tmp_path, pins)) as found:
        reed = found.pin(5)
        for _ in range(5):
            for _ in range(4):
                reed.drive_low()
                reed.drive_high()
            reed.drive_low()
            await asyncio.sleep(0.06)
            reed.drive_high()
            await asyncio.sleep(0.06)
        await until(lambda: found.values("water.total")[-1] == 5.0)
        await asyncio.sleep(0.2)
        assert found.values("water.total")[-1] == 5.0


async def test_a_count_goes_on_after_a_restart(tmp_path: Path) -> None:
    pins = {"meter": {**METER, "start": 4711.5}}
    async with working(Bench(tmp_path, pins)) as found:
        pulse(found.pin(5), 7, 0.001).join()
    async with working(Bench(tmp_path, pins)) as found:
        assert found.readings[0].values["meter.total"] == pytest.approx(4711.507)
        reply = await found.tell("meter", value=4800)
        assert (reply.status, reply.result["value"]) == ("ok", 4800.0)
        pulse(found.pin(5), 3, 0.001).join()
    # Ten pulses a kWh from now on: what was counted before was counted as it was.
    async with working(Bench(tmp_path, {"meter": {**METER, "per_unit": 10}})) as found:
        assert found.readings[0].values["meter.total"] == pytest.approx(4800.003)
        pulse(found.pin(5), 3, 0.001).join()
        await until(lambda: found.values("meter.total")[-1] == pytest.approx(4800.303))


async def test_a_damaged_count_is_told(tmp_path: Path) -> None:
    async with working(Bench(tmp_path, {"meter": METER})) as found:
        pulse(found.pin(5), 7, 0.001).join()
    file = tmp_path / "gpio/board.kept"
    file.write_bytes(b"x" * file.stat().st_size)
    async with working(Bench(tmp_path, {"meter": METER})) as found:
        assert found.readings[0].values["meter.total"] == 0.0
        assert "lost" in found.device.concern
        assert file.with_suffix(".damaged").exists()


# -- storms -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_storm_harms_nobody_else(tmp_path: Path) -> None:
    pins = {
        "wire": {"kind": "motion", "pin": 17},
        "door": {"kind": "contact", "pin": 27, "debounce": "5ms"},
        "meter": {**METER, "interval": "1s"},
    }
    async with working(Bench(tmp_path, pins)) as found:
        wire, stop = found.pin(17), threading.Event()
        sent = 0

        def storm() -> None:
            nonlocal sent
            while not stop.is_set():
                wire.drive_high()
                wire.drive_low()
                sent += 2

        threads = [threading.Thread(target=storm, daemon=True), pulse(found.pin(5), 500, 0.002)]
        threads[0].start()
        await until(lambda: "GPIO17 changes" in found.device.concern)
        found.pin(27).drive_low()
        await until(lambda: found.values("door")[-1] is False)
        while threads[1].is_alive():
            await asyncio.sleep(0.05)
        stop.set()
        threads[0].join()
        wire.drive_high()
        await until(lambda: found.device.concern == "", 60)
        await until(lambda: found.values("wire")[-1] is True)  # as it is in the end
        await until(lambda: found.values("meter.total")[-1] == 0.5)
        dropped = found.device.dropped["storm"]
        print(f"{sent} changes, {dropped} dropped, {len(found.readings)} readings")
        assert dropped > 0
        assert sent > 5 * len(found.readings)


def test_a_pin_that_is_closed_while_it_changes() -> None:
    """As far as gpiozero's thread has come when the loop closes the pin."""
    pin = gpio_factory.steady(MockFactory(pin_class=MockPWMPin)).pin(17)
    seen: list[Any] = []

    def changed(ticks: float, level: Any) -> None:
        seen.append(level)

    pin.when_changed = changed
    pin.drive_high()
    pin.when_changed = None
    pin._call_when_changed()
    assert len(seen) == 1

    def faulty(ticks: float, level: Any) -> None:
        raise TypeError("a fault of its own")

    pin.when_changed = faulty
    with pytest.raises(TypeError, match="of its own"):
        pin.drive_low()


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpio_edges, "_MOST", 100)
    async with working(Bench(tmp_path, {"wire": {"kind": "motion", "pin": 17}})) as found:
        found.open.clear()  # the disk refuses
        wire = found.pin(17)
        for _ in range(300):
            wire.drive_high()
            wire.drive_low()
        wire.drive_high()
        assert found.device.dropped == {"storm": 501}
        found.open.set()
        await until(lambda: len(found.readings) > 50)
        times = [reading.time // 1_000_000 for reading in found.readings]
        assert len(set(times)) == len(times)  # sinks take two of one ms for one


# -- what can go wrong ----------------------------------------------------------------------------


class BusyError(OSError):
    pass


async def test_a_pin_that_is_taken_keeps_no_other_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.gpio._FIRST", 0.05)
    pins = {
        "door": {"kind": "contact", "pin": 17},
        "lamp": {"kind": "led", "pin": 22},
    }
    found, taken = Bench(tmp_path, pins), True
    real = found.factory.pin

    def pin(name: Any) -> Any:
        if taken and name == 22:
            raise BusyError("GPIO busy")
        return real(name)

    found.factory.pin = pin
    async with working(found):
        assert "GPIO22 is in use" in found.device.concern
        assert found.device.trouble == ""
        reply = await found.tell("lamp", value=True)
        assert reply.status == "failed"
        assert "GPIO22 is in use" in reply.error
        found.pin(17).drive_low()
        await until(lambda: found.values("door")[-1] is False)
        taken = False
        await until(lambda: found.device.concern == "")
        assert (await found.tell("lamp", value=True)).status == "ok"


async def test_no_pin_at_all_is_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.gpio._FIRST", 0.05)
    found, taken = Bench(tmp_path, {"door": {"kind": "contact", "pin": 17}}), True
    real = found.factory.pin

    def pin(name: Any) -> Any:
        if taken:
            raise BusyError("GPIO busy")
        return real(name)

    found.factory.pin = pin
    found.task = asyncio.create_task(found.pump())
    try:
        await until(lambda: "GPIO17 is in use" in found.device.trouble)
        taken = False
        await until(lambda: bool(found.bursts))
        assert found.device.trouble == ""
        assert [type(event) for event in found.events] == [Disconnected, Connected]
    finally:
        await found.stop()


def device(tmp_path: Path) -> GpioDevice:
    context = Context("gw", "berrygate", tmp_path, Endpoint(), lambda event: None)
    pins = {"door": {"kind": "contact", "pin": 17}}
    return GpioDevice("board", GpioSettings.model_validate({"pins": pins}), context)


@pytest.fixture
def _no_factory_yet() -> Any:
    gpio_factory.pin_factory.cache_clear()
    yield
    gpio_factory.pin_factory.cache_clear()


@pytest.mark.usefixtures("_no_factory_yet")
async def test_a_machine_without_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/gpiochip0").exists():
        pytest.skip("this one has some")
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    before = Path.cwd()
    with pytest.raises(ConfigError, match="no Raspberry Pi") as error:
        await anext(device(tmp_path).listen())
    assert "GPIOZERO_PIN_FACTORY=mock" in str(error.value.fix)
    assert Path.cwd() == before
    assert not list(before.glob(".lgd-nfy*"))


@pytest.mark.usefixtures("_no_factory_yet")
@pytest.mark.parametrize("model", ["Raspberry Pi 5 Model B Rev 1.0", None])
async def test_without_lgpio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str | None
) -> None:
    monkeypatch.setattr("gateway.io.raspberry.model", lambda root: model)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "lgpio", None)
    monkeypatch.delitem(__import__("sys").modules, "gpiozero.pins.lgpio", raising=False)
    with pytest.raises(ConfigError) as error:
        await anext(device(tmp_path).listen())
    assert ("need the Python module lgpio" in str(error.value)) is (model is not None)
    assert ("no Raspberry Pi" in str(error.value)) is (model is None)
    assert ("pip install lgpio" in str(error.value.fix)) is (model is not None)


@pytest.mark.usefixtures("_no_factory_yet")
@pytest.mark.parametrize(("name", "kind"), [("mock", None), ("mok", ConfigError)])
async def test_a_factory_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Exception] | None
) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", name)
    if kind is None:
        bursts = device(tmp_path).listen()
        assert (await anext(bursts)).readings
        await bursts.aclose()  # type: ignore[attr-defined]
        return
    with pytest.raises(kind, match="no pin factory mok"):
        await anext(device(tmp_path).listen())


def test_what_keeps_us_from_the_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpio_factory, "_CHIPS", tmp_path)
    assert "no /dev/gpiochip0" in str(gpio_factory._no_chip(OSError("x")))
    (tmp_path / "gpiochip0").touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    denied = gpio_factory._no_chip(OSError("can not open gpiochip"))
    assert isinstance(denied, Denied)
    assert "usermod -aG gpio" in str(denied.fix)
