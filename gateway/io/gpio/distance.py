"""How far away something is, by the echo of an ultrasonic sensor (HC-SR04 and its kin)."""

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Any

from gateway.io.blocking import Blocking
from gateway.io.gpio.part import Part, Tell
from gateway.io.gpio.settings import PinSettings
from gateway.io.polling import every

_SOUND = 343.26  # m/s in air of 20 °C
_TRIGGER = 0.00001  # s
_ECHO = 0.1  # the longest an echo may take to come and to end (s)
_REST = 0.06  # until the last echo has died away (s)
_LOCK = threading.Lock()  # one sensor must not hear another


class Distance(Part):
    """See the module, in m. Its echoes are timed by the kernel where lgpio is used."""

    def __init__(self, name: str, settings: PinSettings, tell: Tell) -> None:
        super().__init__(name, tell)
        self._settings = settings
        self._threads = Blocking(f"gpio-{name}")
        self._factory: Any = None
        self._trigger: Any = None
        self._echo: Any = None
        self._rise: float | None = None
        self._spans: list[float] = []  # of the echo that is waited for (s)
        self._heard = threading.Event()
        self._told = False

    def open(self, factory: Any) -> None:
        """See Part."""
        self._factory = factory
        self._trigger = factory.pin(self._settings.trigger)
        self._trigger.output_with_state(False)
        self._echo = factory.pin(self._settings.echo)
        self._echo.input_with_pull("floating")
        self._echo.edges = "both"
        self._echo.bounce = None
        self._echo.when_changed = self._changed

    def close(self) -> None:
        """See Part."""
        for pin in (self._echo, self._trigger):
            if pin is not None:
                pin.when_changed = None
                pin.close()
        self._echo = self._trigger = None

    def _changed(self, ticks: float, level: Any) -> None:
        """In gpiozero's thread."""
        if level:
            self._rise = ticks
        elif self._rise is not None:
            self._spans.append(self._factory.ticks_diff(ticks, self._rise))
            self._heard.set()

    @property
    def works(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """See Part."""
        return (self._run,)

    async def _run(self) -> None:
        patience = self._settings.samples * (_ECHO + _REST) + 5.0
        async for _ in every(self._settings.every):
            found = await self._threads.call(self._measure, patience)
            self.trouble = "" if found else f"{self.name}: no echo; see its wires, and its 5 V"
            near = found if found and found <= self._settings.range else None
            if near is not None or self._told:
                self.tell(None, {self.name: near})
            self._told = near is not None

    def _measure(self) -> float | None:
        """The middle one of several echoes, None where most did not come; in a thread."""
        found = []
        for number in range(self._settings.samples):
            if number:
                time.sleep(_REST)
            metres = self._ping()
            if metres is not None:
                found.append(metres)
        return median(found) if 2 * len(found) > self._settings.samples else None

    def _ping(self) -> float | None:
        trigger = self._trigger
        if trigger is None:
            return None
        with _LOCK:
            self._rise = None
            self._spans.clear()
            self._heard.clear()
            trigger.state = True
            time.sleep(_TRIGGER)
            trigger.state = False
            self._heard.wait(_ECHO)
            return self._spans[0] * _SOUND / 2 if self._spans else None
