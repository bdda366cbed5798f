"""How what is at the GPIO header is configured, and what is said of what cannot be."""

import sys

import pytest

from gateway import registry
from gateway.config import InvalidConfig, loads
from gateway.core.errors import ConfigError
from gateway.io.gpio.names import pin_number


@pytest.mark.parametrize(
    ("written", "number"),
    [(17, 17), ("17", 17), ("GPIO17", 17), ("bcm17", 17), ("BOARD11", 17), ("BOARD 3", 2)],
)
def test_names_of_pins(written: object, number: int) -> None:
    assert pin_number(written) == number


@pytest.mark.parametrize("written", ["BOARD2", "BOARD41", "GPIO46", -1, 1.5, True, "P9_11", ""])
def test_what_is_no_pin(written: object) -> None:
    with pytest.raises(ValueError, match=r"pin|header"):
        pin_number(written)


def problems(pins: str, more: str = "") -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidConfig) as error:
        loads(f"devices:\n  - type: gpio\n    id: hall\n    pins:\n{pins}\n{more}")
    return [(f"{p.line}:{p.column}", p.message, p.fix) for p in error.value.problems]


def test_a_pin_that_is_used_twice() -> None:
    pins = "      door: {kind: contact, pin: 17}\n      lamp: {kind: led, pin: BOARD11}"
    found = problems(pins)
    assert found == [("6:30", "GPIO17 is taken by pins.door.pin of device hall", "use another one")]


def test_a_pin_that_another_device_uses() -> None:
    more = "  - {type: gpio, id: roof, pins: {rain: {kind: distance, trigger: 5, echo: GPIO17}}}"
    found = problems("      door: {kind: contact, pin: 17}", more)
    assert [each[:2] for each in found] == [
        ("6:76", "GPIO17 is taken by pins.door.pin of device hall")
    ]


@pytest.mark.parametrize(
    ("pin", "message", "fix"),
    [
        ("{kind: buton, pin: 17}", '"buton" is not one of the choices', "kind: button"),
        ("{kind: button}", "a button needs pin", "add pin:"),
        ("{kind: distance, trigger: 5}", "a distance needs echo", "add echo:"),
        ("{kind: led, pin: 5, hold: 1s}", "a led has no hold", "leave it out"),
        ("{kind: led, pin: 5, colour: red}", 'unknown key "colour"', "leave it out"),
        ("{kind: led, pin: 99}", "there is no GPIO99", ""),
        ("{kind: relay, pin: 5, safe: last}", '"last" is no state of a relay', "safe: on, off"),
        ("{kind: relay, pin: 5, initial: 50}", '"50.0" is no state of a relay', "last"),
        ("{kind: pwm, pin: 5, safe: 150}", '"150.0" is no state of a pwm', "0 to 100"),
        ("{kind: servo, pin: 5, safe: on}", '"on" is no state of a servo', "free or -90 to 90"),
        ("{kind: relay, pin: 5, lease: 1s}", "not longer than dwell", "make it longer"),
        ("{kind: relay, pin: 5, dwell: 5}", "duration without a unit", "dwell: 5s"),
        ("{kind: servo, pin: 5, min_pulse: 3ms}", "not shorter than max_pulse", "shorter"),
    ],
)
def test_what_is_wrong_with_a_pin(pin: str, message: str, fix: str) -> None:
    found = problems(f"      it: {pin}")
    assert len(found) == 1, found
    place, text, help_ = found[0]
    assert place.startswith("5:")
    assert message in text
    assert fix in help_


def test_no_pins() -> None:
    with pytest.raises(InvalidConfig, match="pins"):
        loads("devices: [{type: gpio}]")
    with pytest.raises(InvalidConfig):
        loads("devices: [{type: gpio, pins: {}}]")


def test_true_and_false_are_states_too() -> None:
    (device,) = loads(
        "devices: [{type: gpio, pins: {a: {kind: led, pin: 5, initial: true, safe: false}}}]"
    ).devices
    pin = device.pins["a"]  # type: ignore[attr-defined]
    assert (pin.initial, pin.safe) == ("on", "off")


def test_gpiozero_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    for name in ("devices.gpio", "gateway.io.gpio.factory", "gateway.io.gpio.output"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError) as error:
        registry.resolve(registry.DEVICES, "gpio")
    assert str(error.value) == "'gpio' needs: pip install berrygate[gpio]"
