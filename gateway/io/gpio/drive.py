"""How an output is set: by its level, by the share of time that it is on, or by pulses whose
length is an angle."""

import sys
from typing import Any, Protocol

from gateway.io.gpio.settings import PinSettings

State = bool | float | None
"""on or off; %; °; None: a servo without pulses."""

_FRAME = 50  # pulses a second for a servo


class Drive(Protocol):
    """One output. Everything raises what gpiozero does."""

    def open(self, factory: Any, state: State) -> None:
        """Take the pin, with that state at once."""

    def set(self, state: State) -> None:
        """Another state."""


class LevelDrive:
    """On or off."""

    def __init__(self, number: int, active_high: bool) -> None:
        self._number = number
        self._high = active_high
        self._pin: Any = None

    def open(self, factory: Any, state: State) -> None:
        """See Drive."""
        self._pin = _fresh(factory, self._number)
        self._pin.output_with_state(bool(state) == self._high)

    def set(self, state: State) -> None:
        """See Drive."""
        self._pin.state = bool(state) == self._high


class PulseDrive:
    """On for a share of the time."""

    def __init__(self, number: int, active_high: bool, frequency: float) -> None:
        self._number = number
        self._high = active_high
        self._frequency = frequency
        self._pin: Any = None

    def open(self, factory: Any, state: State) -> None:
        """See Drive."""
        self._pin = _fresh(factory, self._number)
        self._pin.output_with_state(not self._high)
        self._pin.frequency = self._frequency
        self.set(state)

    def set(self, state: State) -> None:
        """See Drive."""
        share = float(state or 0.0) / 100.0
        if 0 < share < 1:
            share += 1e-9  # gpiozero cuts: 29 % would be 28
        self._pin.state = share if self._high else 1.0 - share


class ServoDrive:
    """Pulses whose length is an angle."""

    def __init__(self, settings: PinSettings) -> None:
        assert settings.pin is not None
        self._number = settings.pin
        self._angles = settings.min_angle, settings.max_angle
        self._pulses = settings.min_pulse, settings.max_pulse
        self._pin: Any = None
        self._chip: tuple[Any, int] | None = None

    def open(self, factory: Any, state: State) -> None:
        """See Drive."""
        if (lgpio := _lgpio_of(factory)) is not None:
            # gpiozero sets lgpio's pulses to a whole percent of the time: six angles in all.
            handle = self._chip[1] if self._chip else lgpio.gpiochip_open(factory.chip)
            self._chip = lgpio, handle
            lgpio.gpio_claim_output(handle, self._number, 0)
        else:
            self._pin = _fresh(factory, self._number)
            self._pin.output_with_state(False)
        self.set(state)

    def set(self, state: State) -> None:
        """See Drive."""
        width = 0.0 if state is None else self._width(float(state))
        if self._chip is not None:
            lgpio, handle = self._chip
            lgpio.tx_servo(handle, self._number, round(width * 1e6), _FRAME)
            return
        self._pin.frequency = _FRAME if width else None
        if width:
            self._pin.state = width * _FRAME

    def _width(self, angle: float) -> float:
        (first, last), (shortest, longest) = self._angles, self._pulses
        return shortest + (angle - first) / (last - first) * (longest - shortest)


def drive_of(settings: PinSettings) -> Drive:
    """What drives an output of that kind."""
    assert settings.pin is not None
    if settings.kind == "servo":
        return ServoDrive(settings)
    if settings.kind == "pwm":
        return PulseDrive(settings.pin, settings.active_high, settings.frequency)
    return LevelDrive(settings.pin, settings.active_high)


def _fresh(factory: Any, number: int) -> Any:
    pin = factory.pin(number)
    pin.when_changed = None
    if pin.frequency:
        pin.frequency = None
    return pin


def _lgpio_of(factory: Any) -> Any:
    """lgpio, where the factory uses it."""
    return sys.modules.get("lgpio") if type(factory).__name__ == "LGPIOFactory" else None
