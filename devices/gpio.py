"""What is wired to the GPIO header: buttons, contacts, motion, distance, knobs, meters; relays,
LEDs, PWM and servos.

Each entry of the configuration is one device, each thing at its pins one metric of it. A change is
a reading at the time of the change, with the state of all the others.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.core.commands import Schema
from gateway.core.contracts import Burst, Command, Context, Device, Reply
from gateway.core.errors import BerrygateError, Denied, Unavailable
from gateway.core.events import Connected, Disconnected
from gateway.core.settings import DeviceSettings, Duration, Id
from gateway.io.gpio.changes import Changes
from gateway.io.gpio.counter import Counter
from gateway.io.gpio.distance import Distance
from gateway.io.gpio.factory import explained, pin_errors, pin_factory
from gateway.io.gpio.inputs import Encoder, Switch
from gateway.io.gpio.kept import Kept
from gateway.io.gpio.output import Output
from gateway.io.gpio.part import Part
from gateway.io.gpio.reports import Reports
from gateway.io.gpio.settings import SWITCHES, PinSettings

log = logging.getLogger(__name__)

_FIRST, _LONGEST = 1.0, 30.0  # pauses between two attempts to have a pin (s)


class GpioSettings(DeviceSettings):
    """Things at the GPIO header of this machine, together one device."""

    type: Literal["gpio"] = "gpio"
    """Which driver."""
    pins: Annotated[dict[Id, PinSettings], Field(min_length=1)]
    """What is connected, by a name, which becomes its metric."""
    interval: Annotated[Duration, Field(ge=0.1)] = 60.0
    """How often all of it is told although nothing changes."""

    def claims(self) -> Mapping[tuple[str, ...], str]:
        """See DeviceSettings."""
        return {
            ("pins", name, key): f"GPIO{number}"
            for name, settings in self.pins.items()
            for key, number in settings.pins.items()
        }

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return GpioDevice(name, self, context)


class GpioDevice:
    """See the module. factory: gives gpiozero's factory of pins; another one in tests."""

    orders = True  # each output knows what waits for its dwell, and what that gives way to

    def __init__(
        self,
        name: str,
        settings: GpioSettings,
        context: Context,
        factory: Callable[[Path], Any] = pin_factory,
    ) -> None:
        self.name = name
        self.denied = False
        self.retained = 0
        self._settings = settings
        self._emit = context.emit
        self._folder = context.data_dir / "gpio"
        self._have_factory = factory
        self._factory: Any = None
        self._kept = Kept(self._folder / f"{name}.kept")
        self._reachable = context.facts.get("broker_connected", lambda: True)
        self._reports = Reports(name)
        self._changes = Changes()
        self._parts = {each: self._part(each, pin) for each, pin in settings.pins.items()}
        self._changes.owners = {pin: p for p in self._parts.values() for pin in p.edges}
        self._closed: dict[str, BerrygateError] = {}  # what could not be opened, and why
        self._open: dict[str, Part] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = "connecting"  # why nothing is heard while nothing is tried
        self._told = self._idle  # the trouble that events have told of

    def _part(self, name: str, settings: PinSettings) -> Part:
        tell, wake = self._reports.tell, self._changes.wake
        if settings.kind in SWITCHES:
            return Switch(name, settings, tell, wake)
        if settings.kind == "encoder":
            return Encoder(name, settings, tell, wake)
        if settings.kind == "counter":
            soon, look = self._changes.wake_soon, self._changes.look
            return Counter(name, settings, tell, soon, self._kept, look)
        if settings.kind == "distance":
            return Distance(name, settings, tell)
        return Output(name, settings, tell, self._kept, self._reachable)

    # -- how it is --------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why nothing can be heard at the moment, or ""."""
        if self._idle or self._open:
            return self._idle
        return str(next(iter(self._closed.values()), ""))

    @property
    def concern(self) -> str:
        """What is wrong although other pins work."""
        found = [str(error) for error in self._closed.values()] if self._open else []
        found += [part.trouble for part in self._open.values() if part.trouble]
        for number, times in self._changes.stormy.items():
            found.append(f"GPIO{number} changes {times} times a second: see its wire, and pull")
        if self._kept.lost:
            found.append("what was counted before is lost: set the counters anew")
        if self._kept.trouble:
            found.append(self._kept.trouble)
        return "; ".join(found)

    @property
    def dropped(self) -> Mapping[str, int]:
        """See gateway.core.contracts.Watched."""
        found = {"storm": self._changes.dropped, "overflow": self._reports.overflow}
        return {reason: count for reason, count in found.items() if count}

    def details(self) -> dict[str, Any]:
        """More for status."""
        return {
            "pins": {
                name: {"kind": pin.kind, **pin.pins, "open": name in self._open}
                for name, pin in self._settings.pins.items()
            },
            "changes": self._changes.seen,
            "commands": sorted(self._commands),
            "concern": self.concern or None,
        }

    def info(self) -> Mapping[str, Any]:
        """Kinds, and units by metric."""
        pins = self._settings.pins
        units = {name + end: u for name, each in pins.items() for end, u in each.units.items()}
        kinds = {name: settings.kind for name, settings in pins.items()}
        return {"source": "gpio", "kinds": kinds, **({"units": units} if units else {})}

    def commands(self, device: str) -> Mapping[str, Schema]:
        """See gateway.core.commands.Commandable."""
        return self._commands

    @property
    def _commands(self) -> Mapping[str, Schema]:
        found = {name: part.schema for name, part in self._parts.items()}
        return {name: schema for name, schema in found.items() if schema is not None}

    # -- at work ----------------------------------------------------------------------------

    async def listen(self) -> AsyncIterator[Burst]:
        """Bursts as things change. Raises ConfigError and Denied."""
        self.denied = False
        self._changes.start()
        self._kept.load()
        self._start(self._open_all())
        self._start(self._remind())
        try:
            while True:
                await self._reports.arrived.wait()
                self._reports.arrived.clear()
                if (burst := self._reports.take()) is not None:
                    yield burst
                for task in self._tasks:
                    if task.done():
                        task.result()
        except Denied:
            self.denied = True
            raise
        finally:
            # First of all and without waiting: this may be the last thing that the process does.
            self._close()
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._kept.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"gpio {self.name}")
        task.add_done_callback(lambda ended: self._reports.arrived.set())
        self._tasks.append(task)

    def _close(self) -> None:
        self._changes.look()  # what was counted and is not kept yet
        self._idle = "stopped"
        for part in self._open.values():
            try:
                part.close()
            except pin_errors() as error:
                log.warning("device %s: %s is not given back: %s", self.name, part.name, error)
        self._open = {}
        self._changes.stop()
        self._reports.forget()

    async def _open_all(self) -> None:
        """Open each thing, and try again with those that cannot be had."""
        pause, left = _FIRST, list(self._parts.values())
        while True:
            with self._reports.gathered():
                left = [part for part in left if not self._opened(part)]
            self._idle = ""
            self._report()
            if not left:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)

    def _opened(self, part: Part) -> bool:
        """Raises ConfigError and Denied."""
        try:
            if self._factory is None:
                self._factory = self._have_factory(self._folder)
                self._changes.factory = self._reports.factory = self._factory
            self._take(part)
        except Unavailable as error:
            if str(error) != str(self._closed.get(part.name)):
                fix = f" ({error.fix})" if error.fix else ""
                log.warning("device %s: %s: %s%s", self.name, part.name, error, fix)
            self._closed[part.name] = error
            return False
        self._closed.pop(part.name, None)
        for work in part.works:
            self._start(self._beside(part, work))
        return True

    def _take(self, part: Part) -> None:
        """Raises Unavailable."""
        try:
            part.open(self._factory)
        except pin_errors() as error:
            number = next(iter(self._settings.pins[part.name].pins.values()))
            raise explained(number, error) from error
        self._open[part.name] = part

    async def _beside(self, part: Part, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except pin_errors() as error:  # among them, that a thread does not answer
                part.trouble = f"{part.name}: {error or 'no answer from its pin'}"
            await asyncio.sleep(_FIRST)

    async def _remind(self) -> None:
        """Tell everything now and then: who looks sees that we are there."""
        loop, interval = asyncio.get_running_loop(), self._settings.interval
        since = loop.time()
        while True:
            left = max(self._reports.told, since) + interval - loop.time()
            if left > 0:
                await asyncio.sleep(left)
            else:
                since = loop.time()
                self._reports.tell(None, {})

    def _report(self) -> None:
        """Events: when nothing can be heard, and when something can."""
        before, self._told = self._told, self.trouble
        if self._told and self._told != before:
            self._emit(Disconnected(kind="device", name=self.name, reason=self._told))
        elif before and not self._told:
            self._emit(Connected(kind="device", name=self.name, detail="GPIO"))

    # -- commands ---------------------------------------------------------------------------

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator."""
        if command.name not in self._commands:
            names = ", ".join(sorted(self._commands)) or "none"
            return Reply("rejected", error=f'no command "{command.name}"; known: {names}')
        if command.expires and time.time_ns() > command.expires:
            return Reply("expired", error="it came too late")
        part = self._open.get(command.name)
        if part is None:
            reason = self._closed.get(command.name) or self.trouble or "not open yet"
            return Reply("failed", error=f"{command.name}: {reason}")
        return await part.execute(command)
