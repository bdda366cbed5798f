"""Inputs that are on or off, and a knob that is turned."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.contracts import Command, Reply
from gateway.io.gpio.debounce import Debounce
from gateway.io.gpio.edges import EdgePin
from gateway.io.gpio.part import Debounced, Part, Tell, argument_errors, number_in
from gateway.io.gpio.settings import PinSettings

# Changes a second that are believed; a contact that bounces makes some ten each time.
_SWITCH_RATE = 1_000
_BARE_RATE = 200  # without debouncing each is a reading
_KNOB_RATE = 5_000
_KNOB_EVERY = 0.1  # how often a position is told while it changes (s)
_TURN = {0b00: 0, 0b10: 1, 0b11: 2, 0b01: 3}  # clockwise, a goes first


class Switch(Debounced):
    """A button (true: pressed), a contact (true: open) or a motion sensor (true: motion). A button
    also tells press, hold and double, as `<name>.event`."""

    def __init__(
        self, name: str, settings: PinSettings, tell: Tell, wake: Callable[[], None]
    ) -> None:
        super().__init__(name, tell)
        self._settings = settings
        assert settings.pin is not None
        rate = _SWITCH_RATE if settings.window else _BARE_RATE
        self._pin = EdgePin(settings.pin, settings.pulled, rate, wake)
        self.edges = (self._pin,)
        self._debounce = Debounce(False, settings.window)
        self._factory: Any = None
        self._pressed: float | None = None
        self._holding: asyncio.TimerHandle | None = None

    def open(self, factory: Any) -> None:
        """See Part."""
        self._factory = factory
        level = self._pin.open(factory)
        self._debounce = Debounce(level, self._settings.window)
        self.tell(None, {self.name: self._value(level)})

    def close(self) -> None:
        """See Part."""
        self._let_go()
        super().close()

    def _is_active(self, level: bool) -> bool:
        return level == self._settings.active_high

    def _value(self, level: bool) -> bool:
        # A contact that is closed is active; what people want to know is whether the door is open.
        return self._is_active(level) != (self._settings.kind == "contact")

    def _certain(self, at: float, level: bool) -> None:
        events = self._pressing(at, level) if self._settings.kind == "button" else {}
        self.tell(at, {self.name: self._value(level)}, events)

    def _pressing(self, at: float, level: bool) -> dict[str, str]:
        self._let_go()
        if not self._is_active(level):
            return {}
        before, self._pressed = self._pressed, at
        double = before is not None and at - before <= self._settings.double
        if double:
            self._pressed = None  # a third press begins anew
        ago = self._factory.ticks_diff(self._factory.ticks(), at)
        later = max(self._settings.hold - ago, 0.0)
        self._holding = asyncio.get_running_loop().call_later(later, self._held, at)
        return {f"{self.name}.event": "double" if double else "press"}

    def _held(self, pressed: float) -> None:
        self._holding = None
        self.tell(pressed + self._settings.hold, {}, {f"{self.name}.event": "hold"})

    def _let_go(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None


class Encoder(Part):
    """A rotary encoder: steps since the gateway started, clockwise upwards. Each step is four
    changes of its two pins; a pin that bounces goes one forth and one back."""

    def __init__(
        self, name: str, settings: PinSettings, tell: Tell, wake: Callable[[], None]
    ) -> None:
        super().__init__(name, tell)
        assert settings.a is not None
        assert settings.b is not None
        self._high = settings.active_high
        self._a = EdgePin(settings.a, settings.pulled, _KNOB_RATE, wake)
        self._b = EdgePin(settings.b, settings.pulled, _KNOB_RATE, wake)
        self.edges = (self._a, self._b)
        self._place, self._quarters, self._way = 0, 0, 1
        self._levels: dict[EdgePin, bool] = {}
        self._steps = 0
        self._later: asyncio.TimerHandle | None = None
        self._at = 0.0

    def open(self, factory: Any) -> None:
        """See Part."""
        self._levels = {pin: pin.open(factory) == self._high for pin in self.edges}
        self._place, self._quarters = self._where(), 0
        self.tell(None, {self.name: float(self._steps)})

    def close(self) -> None:
        """See Part."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        super().close()

    def _where(self) -> int:
        return _TURN[self._levels[self._a] << 1 | self._levels[self._b]]

    def feed(self, pin: EdgePin, at: float, level: bool) -> None:
        """See Part."""
        self._levels[pin] = level == self._high
        place = self._where()
        moved, self._place = (place - self._place) % 4, place
        if moved == 2:  # one of two changes was missed: it goes on as it went
            self._quarters += 2 * self._way
        elif moved:
            self._way = 1 if moved == 1 else -1
            self._quarters += self._way
        if place == 0:
            step = (self._quarters >= 2) - (self._quarters <= -2)
            self._quarters = 0
            if step:
                self._steps += step
                self._soon(at)

    def _soon(self, at: float) -> None:
        self._at = at
        if self._later is None:
            self._turned()
            self._later = asyncio.get_running_loop().call_later(_KNOB_EVERY, self._again)

    def _turned(self) -> None:
        self.tell(self._at, {self.name: float(self._steps)})
        self._at = 0.0

    def _again(self) -> None:
        self._later = None
        if self._at:
            self._soon(self._at)

    @property
    def schema(self) -> Mapping[str, Any]:
        """See Part."""
        return {
            "type": "object",
            "properties": {"value": {"type": "integer", "description": "the position"}},
            "required": ["value"],
            "additionalProperties": False,
        }

    async def execute(self, command: Command) -> Reply:
        """Take the position that it has now for another one."""
        wrong = argument_errors(self.schema, command.args)
        value = number_in(command.args.get("value"), -1e9, 1e9)
        if wrong or value is None:
            return Reply("rejected", error=wrong or "value is no number")
        self._steps = round(value)
        self.tell(None, {self.name: float(self._steps)})
        return Reply("ok", {"value": self._steps})
