"""Pulses of a meter: how many there have been, and how fast they come."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.core.contracts import Command, Reply
from gateway.io.gpio.debounce import Debounce
from gateway.io.gpio.edges import EdgePin
from gateway.io.gpio.kept import Kept
from gateway.io.gpio.part import Debounced, Tell, argument_errors, number_in
from gateway.io.gpio.settings import PinSettings
from gateway.io.polling import every

_RATE = 20_000  # changes a second that are believed; more than that Python cannot take
_STILL = 3_600.0  # without a pulse for so long nothing flows (s)
_UNEVEN = 1.5  # a pause that is so many times the usual one says that it is slower
_PER = {"s": 1.0, "m": 60.0, "h": 3_600.0}


class Pace:
    """Pulses a second, of the times between pulses: exact for slow ones as for fast ones."""

    def __init__(self) -> None:
        self._count = 0  # since `_from`
        self._from: float | None = None  # the last pulse that was reckoned with
        self._last = 0.0
        self._rate = 0.0

    def pulse(self, at: float) -> None:
        """There was one."""
        if self._from is None:
            self._from = at
        else:
            self._count += 1
        self._last = at

    def at(self, now: float) -> float:
        """How fast they come now."""
        if self._from is None:
            return 0.0
        if self._count and self._last > self._from:
            self._rate = self._count / (self._last - self._from)
            self._count, self._from = 0, self._last
        silent = now - self._last
        if silent > _STILL:
            self._from, self._rate = None, 0.0
        elif silent * self._rate > _UNEVEN:
            # Since then there was none: it cannot be faster than one in that time.
            self._rate = 1.0 / silent
        return self._rate


class Counter(Debounced):
    """See the module. `<name>.total` in the meter's unit and `<name>.rate`. kept: where the count
    is kept. look: has what came until now fed."""

    def __init__(
        self,
        name: str,
        settings: PinSettings,
        tell: Tell,
        wake: Callable[[], None],
        kept: Kept,
        look: Callable[[], None],
    ) -> None:
        super().__init__(name, tell)
        assert settings.pin is not None
        self._settings = settings
        self._pin = EdgePin(settings.pin, settings.pulled, _RATE, wake)
        self.edges = (self._pin,)
        self._kept = kept
        self._look = look
        self._debounce = Debounce(False, settings.window)
        self._pace = Pace()
        self._factory: Any = None
        self._base, self._pulses, self._known = settings.start, 0, False

    def _recall(self) -> None:
        found = self._kept.values.get(self.name)
        if not isinstance(found, dict):
            return
        base, pulses, per = (number_in(found.get(key)) for key in ("base", "pulses", "per_unit"))
        if base is None or pulses is None or not per:
            return
        self._base, self._pulses = base, int(pulses)
        if per != self._settings.per_unit:  # what was counted was counted with the other
            self._base, self._pulses = base + pulses / per, 0

    def _keep(self) -> None:
        self._kept.put(
            self.name,
            {
                "base": self._base,
                "pulses": self._pulses,
                "per_unit": self._settings.per_unit,
                "at": time.time_ns() // 1_000_000,
            },
        )

    def open(self, factory: Any) -> None:
        """See Part."""
        self._factory = factory
        if not self._known:
            self._recall()
            self._known = True
        level = self._pin.open(factory)
        self._debounce = Debounce(level, self._settings.window)
        self._pace = Pace()
        self.tell(None, {f"{self.name}.total": self.total})

    @property
    def total(self) -> float:
        """In the meter's unit."""
        return self._base + self._pulses / self._settings.per_unit

    def _certain(self, at: float, level: bool) -> None:
        if level == self._settings.active_high:
            self._pulses += 1
            self._pace.pulse(at)
            self._keep()

    @property
    def works(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """See Part."""
        return (self._run,)

    async def _run(self) -> None:
        interval = self._settings.every
        async for _ in every(interval, first=interval):
            self.told()

    def told(self) -> None:
        """Tell how things are."""
        self._look()  # pulses that gather just now are none that have not come
        per = _PER[self._settings.per]
        rate = self._pace.at(self._factory.ticks()) * per / self._settings.per_unit
        self.tell(None, {f"{self.name}.total": self.total, f"{self.name}.rate": rate})

    @property
    def schema(self) -> Mapping[str, Any]:
        """See Part."""
        value = {"type": "number", "description": "what the meter shows now"}
        return {
            "type": "object",
            "properties": {"value": value},
            "required": ["value"],
            "additionalProperties": False,
        }

    async def execute(self, command: Command) -> Reply:
        """Go on from what the meter itself shows."""
        wrong = argument_errors(self.schema, command.args)
        value = number_in(command.args.get("value"))
        if wrong or value is None:
            return Reply("rejected", error=wrong or "value is no number")
        before, self._base, self._pulses = self.total, value, 0
        self._keep()
        self.told()
        return Reply("ok", {"value": value, "before": before})
