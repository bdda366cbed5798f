"""Relays, LEDs, PWM and servos on mock pins: commands, and what becomes of them without."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from gateway.io.gpio import output as output
from gateway.io.gpio.drive import ServoDrive
from gateway.io.gpio.settings import PinSettings
from tests.devices.test_gpio import Bench, until, working

RELAY: dict[str, Any] = {"kind": "relay", "pin": 23, "dwell": "0s"}


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    output._held.clear()


async def test_a_command_switches_and_is_told(tmp_path: Path) -> None:
    pins = {"pump": RELAY, "lamp": {"kind": "led", "pin": 22}}
    async with working(Bench(tmp_path, pins)) as found:
        reply = await found.tell("pump", value=True)
        assert (reply.status, reply.result) == ("ok", {"value": True})
        assert found.pin(23).state == 1
        await until(lambda: found.values("pump") == [False, True])
        for value, state in (("off", 0), ("toggle", 1), ("toggle", 0), (1, 1), (False, 0)):
            assert (await found.tell("pump", value=value)).status == "ok"
            assert found.pin(23).state == state
        await until(lambda: found.values("pump")[-1] is False)
        assert found.values("lamp") == [False]


async def test_a_board_that_is_on_at_a_low_level(tmp_path: Path) -> None:
    pins = {"pump": {**RELAY, "active": "low"}}
    found = Bench(tmp_path, pins)
    async with working(found):
        assert found.pin(23).state == 1
        await found.tell("pump", value="on")
        assert found.pin(23).state == 0
        assert found.values("pump")[0] is False


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("pump", {"value": "of"}, "none of true, false"),
        ("pump", {"value": 0.5}, "none of true, false"),
        ("pump", {"value": [1]}, "none of true, false"),
        ("pump", {}, '"value" is missing'),
        ("pump", {"value": True, "fro": "1m"}, 'no argument "fro"; known: value, for'),
        ("pump", {"value": True, "for": "soon"}, "not a duration"),
        ("pump", {"value": True, "for": -1}, "for is no time"),
        ("pump", {"value": True, "for": True}, "for is no time"),
        ("fan", {"value": 101}, "no number from 0 to 100"),
        ("fan", {"value": float("nan")}, "no number from 0 to 100"),
        ("gate", {"value": "on"}, "no number from -90 to 90"),
        ("door", {"value": True}, 'no command "door"; known: fan, gate, pump'),
    ],
)
async def test_what_cannot_be_done_is_rejected(
    tmp_path: Path, name: str, args: dict[str, Any], text: str
) -> None:
    pins = {
        "pump": RELAY,
        "fan": {"kind": "pwm", "pin": 18},
        "gate": {"kind": "servo", "pin": 12},
        "door": {"kind": "contact", "pin": 17},
    }
    async with working(Bench(tmp_path, pins)) as found:
        reply = await found.tell(name, **args)
        assert reply.status == "rejected"
        assert text in reply.error
        assert found.pin(23).state == 0


async def test_commands_have_schemas(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema_rs")
    pins = {
        "pump": RELAY, "fan": {"kind": "pwm", "pin": 18}, "gate": {"kind": "servo", "pin": 12},
        "meter": {"kind": "counter", "pin": 5}, "door": {"kind": "contact", "pin": 17},
    }  # fmt: skip
    schemas = Bench(tmp_path, pins).device.commands("board")
    assert sorted(schemas) == ["fan", "gate", "meter", "pump"]
    for name, args, good in (
        ("pump", {"value": "toggle", "for": "10m"}, True),
        ("pump", {"value": 3}, False),
        ("fan", {"value": 40}, True),
        ("fan", {"value": 140}, False),
        ("gate", {"value": "free"}, True),
        ("meter", {"value": 1.5}, True),
        ("meter", {}, False),
        ("meter", {"value": 1, "more": 2}, False),
    ):
        assert jsonschema.is_valid(schemas[name], args) is good, (name, args)


async def test_pwm(tmp_path: Path) -> None:
    pins = {"fan": {"kind": "pwm", "pin": 18, "frequency": 250, "initial": 20}}
    async with working(Bench(tmp_path, pins)) as found:
        assert found.pin(18).frequency == 250
        assert found.pin(18).state == pytest.approx(0.2)
        await found.tell("fan", value=75)
        assert found.pin(18).state == pytest.approx(0.75)
        await found.tell("fan", value="on")
        assert found.pin(18).state == 1
        await until(lambda: found.values("fan")[-1] == 100.0)
    # Whoever makes the pulses ends with the process: never on by chance.
    assert found.pin(18).state == 0


async def test_servo(tmp_path: Path) -> None:
    pins = {"gate": {"kind": "servo", "pin": 12, "min_pulse": "0.5ms", "max_pulse": "2.5ms"}}
    async with working(Bench(tmp_path, pins)) as found:
        assert found.pin(12).frequency is None
        assert found.readings[0].values == {"gate.free": True}
        for angle, width in ((-90, 0.0005), (0, 0.0015), (90, 0.0025)):
            assert (await found.tell("gate", value=angle)).status == "ok"
            assert found.pin(12).frequency == 50
            assert found.pin(12).state == pytest.approx(width * 50)
        await until(lambda: found.values("gate")[-1] == 90.0)
        await found.tell("gate", value="free")
        assert found.pin(12).frequency is None
        await until(lambda: found.readings[-1].values == {"gate.free": True})


def test_a_servo_by_lgpio_has_more_than_six_angles(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    lgpio = SimpleNamespace(
        gpiochip_open=lambda chip: calls.append(("open", chip)) or 7,
        gpio_claim_output=lambda *a: calls.append(("claim", *a)),
        tx_servo=lambda *a: calls.append(("servo", *a)),
    )
    monkeypatch.setitem(__import__("sys").modules, "lgpio", lgpio)
    LGPIOFactory = type("LGPIOFactory", (), {"chip": 4})
    drive = ServoDrive(PinSettings.model_validate({"kind": "servo", "pin": 12}))
    drive.open(LGPIOFactory(), None)
    drive.set(1.0)
    drive.set(2.0)
    assert calls == [
        ("open", 4), ("claim", 7, 12, 0), ("servo", 7, 12, 0, 50), ("servo", 7, 12, 1506, 50),
        ("servo", 7, 12, 1511, 50),
    ]  # fmt: skip


async def test_a_pin_without_pulses_says_so(tmp_path: Path) -> None:
    found = Bench(tmp_path, {"fan": {"kind": "pwm", "pin": 18}, "lamp": {"kind": "led", "pin": 22}})
    found.factory = MockFactory(pin_class=MockPin)
    async with working(found):
        assert "GPIO18 cannot give pulses" in found.device.concern


# -- dwell, expiry, lease -----------------------------------------------------------------------


async def test_a_relay_is_not_switched_more_often_than_it_may(tmp_path: Path) -> None:
    async with working(Bench(tmp_path, {"pump": {**RELAY, "dwell": "300ms"}})) as found:
        began = time.monotonic()
        changes = []
        for _ in range(3):
            await found.tell("pump", value="toggle")
            changes.append(time.monotonic())
        pauses = [b - a for a, b in zip([began, *changes], changes, strict=False)]
        assert all(pause >= 0.29 for pause in pauses[1:]), pauses
        assert found.pin(23).state == 1


async def test_what_was_asked_last_counts(tmp_path: Path) -> None:
    async with working(Bench(tmp_path, {"pump": {**RELAY, "dwell": "400ms"}})) as found:
        await asyncio.sleep(0.45)
        assert (await found.tell("pump", value=True)).status == "ok"
        first = asyncio.create_task(found.tell("pump", value=False))
        await asyncio.sleep(0.05)
        # It is on already: nothing is to be done, and the one that waits is of no concern now.
        assert (await found.tell("pump", value=True)).status == "ok"
        reply = await first
        assert reply.status == "failed"
        assert "newer" in reply.error
        await asyncio.sleep(0.5)
        assert found.pin(23).state == 1
        waiting = [
            asyncio.create_task(found.tell("pump", value=value)) for value in (False, "toggle")
        ]
        assert [reply.status for reply in await asyncio.gather(*waiting)] == ["ok", "ok"]
        assert found.pin(23).state == 1


async def test_a_command_that_is_too_late_is_not_done(tmp_path: Path) -> None:
    pins = {"pump": {**RELAY, "dwell": "1m"}, "lamp": {"kind": "led", "pin": 22}}
    async with working(Bench(tmp_path, pins)) as found:
        reply = await found.tell("lamp", time.time_ns() - 1, value=True)
        assert reply.status == "expired"
        assert found.pin(22).state == 0
        assert (await found.tell("lamp", time.time_ns() + 10**10, value=True)).status == "ok"
        # In time now, but not any more when the relay may be switched.
        reply = await found.tell("pump", time.time_ns() + 10**9, value=True)
        assert reply.status == "expired"
        assert "dwell" not in found.device.concern
        assert found.pin(23).state == 0


async def test_a_command_for_a_while(tmp_path: Path) -> None:
    pins = {"valve": RELAY, "heat": {"kind": "relay", "pin": 24, "dwell": "0s", "lease": "400ms"}}
    async with working(Bench(tmp_path, pins)) as found:
        await found.tell("valve", value=True, **{"for": "200ms"})
        await until(lambda: found.values("valve") == [False, True, False])
        assert found.pin(23).state == 0
        # Each command begins the time anew.
        for _ in range(4):
            await found.tell("heat", value=True)
            await asyncio.sleep(0.15)
            assert found.pin(24).state == 1
        await until(lambda: found.pin(24).state == 0)
        # A command without an end ends the one that had one.
        await found.tell("valve", value=True, **{"for": 0.2})
        await found.tell("valve", value=True)
        await asyncio.sleep(0.3)
        assert found.pin(23).state == 1


# -- what becomes of it --------------------------------------------------------------------------


async def test_without_the_broker(tmp_path: Path) -> None:
    fast = {"dwell": "0s", "loss_after": "300ms"}
    pins = {
        "heat": {"kind": "relay", "pin": 23, "on_loss": "safe", **fast},
        "light": {"kind": "relay", "pin": 24, **fast},
        "vent": {"kind": "pwm", "pin": 18, "on_loss": "safe", "safe": 30, "loss_after": "300ms"},
    }
    async with working(Bench(tmp_path, pins)) as found:
        for name in pins:
            await found.tell(name, value="on")
        found.reachable = False
        await asyncio.sleep(0.1)
        assert found.pin(23).state == 1  # a moment is no loss
        await until(lambda: found.pin(23).state == 0)
        await until(lambda: found.pin(18).state == pytest.approx(0.3))
        assert found.pin(24).state == 1
        await until(lambda: found.values("heat") == [False, True, False])
        # It stays so when the broker is back, until somebody says otherwise.
        found.reachable = True
        await asyncio.sleep(0.3)
        assert found.pin(23).state == 0
        await found.tell("heat", value=True)
        assert found.pin(23).state == 1


async def test_what_can_do_no_harm_does_not_wait_for_the_dwell(tmp_path: Path) -> None:
    pins = {"heat": {"kind": "relay", "pin": 23, "on_loss": "safe", "loss_after": "0s"}}
    pins["heat"]["initial"] = "on"
    pins["heat"]["dwell"] = "1m"
    async with working(Bench(tmp_path, pins)) as found:
        assert (await found.tell("heat", value=True)).status == "ok"
        late = asyncio.create_task(found.tell("heat", value=False))
        await asyncio.sleep(0.05)
        late.cancel()
        found.reachable = False
        await until(lambda: found.pin(23).state == 0)


@pytest.mark.parametrize(("on_loss", "state"), [("safe", 0), ("hold", 1)])
async def test_at_the_end(tmp_path: Path, on_loss: str, state: int) -> None:
    pins = {"heat": {**RELAY, "on_loss": on_loss}}
    async with working(Bench(tmp_path, pins)) as found:
        await found.tell("heat", value=True)
    assert found.pin(23).state == state
    assert found.pin(23).function == "output"
    assert (await found.tell("heat", value=True)).status == "failed"
    assert found.pin(23).state == state


async def test_hold_over_a_reload(tmp_path: Path) -> None:
    pins = {"heat": RELAY}
    first = Bench(tmp_path, pins)
    async with working(first):
        await first.tell("heat", value=True)
    second = Bench(tmp_path, {**pins, "lamp": {"kind": "led", "pin": 22}})
    second.factory = first.factory
    async with working(second):
        assert second.pin(23).state == 1
        assert second.readings[0].values["heat"] is True
    third = Bench(tmp_path, pins)
    output._held.clear()  # another process
    async with working(third):
        assert third.pin(23).state == 0


@pytest.mark.parametrize(("initial", "state"), [("off", 0), ("on", 1), ("last", 1)])
async def test_at_the_start(tmp_path: Path, initial: str, state: int) -> None:
    pins = {"heat": {**RELAY, "initial": initial, "on_loss": "safe"}}
    async with working(Bench(tmp_path, pins)) as found:
        await found.tell("heat", value=True)
    assert found.pin(23).state == 0
    async with working(Bench(tmp_path, pins)) as found:
        assert found.pin(23).state == state
        assert found.readings[0].values["heat"] is bool(state)


async def test_last_of_what_was_never_told_is_the_safe_state(tmp_path: Path) -> None:
    pins = {"heat": {**RELAY, "initial": "last", "safe": "on"}}
    async with working(Bench(tmp_path, pins)) as found:
        assert found.pin(23).state == 1
