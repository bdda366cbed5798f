"""Outputs: relays, LEDs, PWM and servos, and what becomes of them when nobody tells them anything.

An output is set by commands. It goes to its safe state by itself when a command was good for a
while only and that is over; and, with `on_loss: safe`, when the broker, through which commands
come, has been away for `loss_after`, and when the gateway ends.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.core.contracts import Command, Reply, Value
from gateway.core.settings import parse_duration
from gateway.io.gpio.drive import State, drive_of
from gateway.io.gpio.factory import pin_errors
from gateway.io.gpio.kept import Kept
from gateway.io.gpio.part import Part, Tell, argument_errors, number_in
from gateway.io.gpio.settings import PinSettings

log = logging.getLogger(__name__)

_LOOK = 0.5  # how often it is seen whether the broker is there (s)
_LONGEST = 366 * 86_400.0  # what a command may be good for (s)
_WORDS: Mapping[str, bool] = {"on": True, "off": False}

_held: dict[int, State] = {}
"""What outputs were left at that hold, by pin: they stay so over a reload."""


class Output(Part):
    """See the module. reachable: whether commands can come. kept: where the state is kept that
    `initial: last` goes back to.

    state: what it is set to. changes: how often it was set to something else.
    """

    def __init__(
        self,
        name: str,
        settings: PinSettings,
        tell: Tell,
        kept: Kept,
        reachable: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name, tell)
        self._settings = settings
        self._kept = kept
        self._reachable = reachable
        self._drive = drive_of(settings)
        self._safe = self._meant(settings.safe)
        self.state: State = self._safe
        self.changes = 0
        self._is_open = False
        self._commanded = False
        self._switched = 0.0  # loop.time()
        self._heard = 0.0  # when the last command came, or the broker was there
        self._lease: asyncio.TimerHandle | None = None
        self._turn: asyncio.Future[bool] | None = None  # of the command that waits for the dwell

    # -- opening and closing ----------------------------------------------------------------

    def open(self, factory: Any) -> None:
        """See Part."""
        number = self._settings.pins["pin"]
        state = _held[number] if number in _held else self._first()
        self._drive.open(factory, state)
        _held.pop(number, None)
        self._is_open = True
        self.state = state
        self._switched = self._heard = asyncio.get_running_loop().time()
        self._say()

    def _first(self) -> State:
        initial = self._settings.initial
        if initial != "last":
            return self._meant(initial)
        known = self._kept.values.get(self.name)
        try:
            return self._target(known["state"] if isinstance(known, dict) else None)
        except (KeyError, ValueError):
            return self._safe

    def _meant(self, level: bool | float | str) -> State:
        """A state as the configuration writes it."""
        if level == "free" or (self._settings.kind == "servo" and isinstance(level, str)):
            return None
        if isinstance(level, str):
            return level == "on" if self._is_digital else (100.0 if level == "on" else 0.0)
        return float(level)

    @property
    def _is_digital(self) -> bool:
        return self._settings.kind in ("led", "relay")

    def close(self) -> None:
        """The gateway ends, or takes other settings: hold, or the safe state. The pin stays an
        output: as an input, a board that is on at a low level might be on."""
        if not self._is_open:
            return
        self._is_open = False
        self._stop_lease()
        self._supersede()
        # Whoever makes the pulses ends with the process, at a level that nobody chose.
        if self._settings.on_loss == "hold" and self._is_digital:
            _held[self._settings.pins["pin"]] = self.state
            return
        try:
            self._drive.set(self._safe)
        except pin_errors() as error:
            log.error("%s: not in its safe state: %s", self.name, error)

    # -- being told -------------------------------------------------------------------------

    @property
    def schema(self) -> Mapping[str, Any]:
        """See Part."""
        low, high = self._settings.bounds
        value: dict[str, Any] = {"enum": [True, False, "on", "off", "toggle"]}
        if not self._is_digital:
            number = {"type": "number", "minimum": low, "maximum": high}
            words = ["free"] if self._settings.kind == "servo" else ["on", "off"]
            value = {"anyOf": [number, {"enum": words}]}
        span = {"type": ["string", "number"], "description": "then its safe state: 10m, or seconds"}
        return {
            "type": "object",
            "properties": {"value": value, "for": span},
            "required": ["value"],
            "additionalProperties": False,
        }

    async def execute(self, command: Command) -> Reply:
        """Set it; where it was switched just now, as soon as that may be again. What was asked last
        counts: a command that waits gives way to a newer one."""
        if not self._is_open:
            return Reply("failed", error=f"{self.name} is not open: {self.trouble or 'stopped'}")
        if wrong := argument_errors(self.schema, command.args):
            return Reply("rejected", error=wrong)
        try:
            span = self._span(command.args)
            target = self._target(command.args["value"])
        except ValueError as error:
            return Reply("rejected", error=str(error))
        left = self._left() if target != self.state else 0.0
        if left > 0 and command.expires and time.time_ns() + left * 1e9 > command.expires:
            # It is not done: so what waits is what was asked last.
            text = f"it may be switched in {left:.1f} s, and the command expires before"
            return Reply("expired", error=text)
        self._supersede()
        if left > 0 and not await self._wait(left):
            return Reply("failed", error="a newer command came, or the gateway ended")
        if left > 0 and command.expires and time.time_ns() > command.expires:
            return Reply("expired", error="it came too late")  # the machine slept meanwhile
        return self._do(target, span)

    def _target(self, value: Any) -> State:
        """The state that is asked for. Raises ValueError."""
        low, high = self._settings.bounds
        if value == "toggle" and self._is_digital:
            return not self.state
        if self._is_digital:
            if isinstance(value, bool) or value in (0, 1):
                return bool(value)
            if isinstance(value, str) and value in _WORDS:
                return _WORDS[value]
            raise ValueError("value is none of true, false, on, off, toggle")
        if self._settings.kind == "servo":
            if value == "free":
                return None
        elif isinstance(value, bool) or (isinstance(value, str) and value in _WORDS):
            return high if value in (True, "on") else low
        if (number := number_in(value, low, high)) is None:
            raise ValueError(f"value is no number from {low:g} to {high:g}")
        return number

    def _span(self, args: Mapping[str, Any]) -> float:
        """How long the command is good for (s), 0 for ever. Raises ValueError."""
        given = args.get("for")
        if given is None:
            return self._settings.lease
        span = number_in(given) if not isinstance(given, str) else parse_duration(given)
        if span is None or not 0 < span <= _LONGEST:
            raise ValueError("for is no time; expected 10m, or seconds")
        return min(span, self._settings.lease) if self._settings.lease else span

    def _left(self) -> float:
        """How long it may not be switched yet (s)."""
        since = asyncio.get_running_loop().time() - self._switched
        return self._settings.least_dwell - since

    async def _wait(self, seconds: float) -> bool:
        """Whether it was not superseded meanwhile."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._turn = turn
        timer = loop.call_later(seconds, _settle, turn, True)
        try:
            # Not one that was superseded when its time had come already, in the same moment.
            return await turn and self._turn is turn
        finally:
            timer.cancel()
            if self._turn is turn:
                self._turn = None

    def _supersede(self) -> None:
        if self._turn is not None:
            _settle(self._turn, False)
            self._turn = None

    def _do(self, target: State, span: float) -> Reply:
        self._stop_lease()
        try:
            self._set(target)
        except pin_errors() as error:
            self.trouble = f"{self.name} cannot be set: {error}"
            return Reply("failed", error=self.trouble)
        loop = asyncio.get_running_loop()
        self._commanded, self._heard = True, loop.time()
        if span:
            self._lease = loop.call_later(span, self._to_safe, f"told {span:g} s ago for so long")
        self._remember()
        return Reply("ok", {"value": self._word})

    def _set(self, state: State) -> None:
        changed = state != self.state
        self._drive.set(state)
        self.trouble = ""
        self.state = state
        if changed:
            self.changes += 1
            self._switched = asyncio.get_running_loop().time()
        self._say()

    @property
    def _word(self) -> Value:
        return "free" if self.state is None else self.state

    def _remember(self) -> None:
        self._kept.put(self.name, {"state": self._word})

    def _say(self) -> None:
        values: dict[str, Value | None] = {self.name: self.state}
        if self._settings.kind == "servo":
            values[f"{self.name}.free"] = self.state is None
        self.tell(None, values)

    # -- being told nothing -----------------------------------------------------------------

    def _stop_lease(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None

    def _to_safe(self, why: str) -> None:
        """At once: what can do no harm does not wait for the dwell."""
        self._lease = None
        self._supersede()
        log.info("%s: to its safe state: %s", self.name, why)
        self._commanded = False
        try:
            self._set(self._safe)
        except pin_errors() as error:
            self.trouble = f"{self.name} cannot be set: {error}"
        else:
            self._remember()

    @property
    def works(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """See Part."""
        return (self._watch,) if self._settings.on_loss == "safe" else ()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._reachable():
                self._heard = loop.time()
            elif self._commanded and loop.time() - self._heard >= self._settings.loss_after:
                self._to_safe("the broker is away, through which commands come")
            await asyncio.sleep(min(_LOOK, self._settings.loss_after / 4 or _LOOK))


def _settle(future: "asyncio.Future[bool]", value: bool) -> None:
    if not future.done():
        future.set_result(value)
