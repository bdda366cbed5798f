"""What the things at the header have in common."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from gateway.core.contracts import Command, Reply, Value
from gateway.io.gpio.debounce import Debounce
from gateway.io.gpio.edges import EdgePin


class Tell(Protocol):
    """Takes what a thing has found. at: when, in the factory's seconds; None: now. values: by
    metric; None: not known any more. events: what is told once and is no state."""

    def __call__(
        self,
        at: float | None,
        values: Mapping[str, Value | None],
        events: Mapping[str, Value] = ...,
    ) -> None: ...


class Part:
    """One thing at the header. Everything is called on the loop.

    edges: its pins whose changes it is fed. trouble: what is wrong with it although it is open.
    """

    def __init__(self, name: str, tell: Tell) -> None:
        self.name = name
        self.tell = tell
        self.edges: Sequence[EdgePin] = ()
        self.trouble = ""

    def open(self, factory: Any) -> None:
        """Take the pins, and tell the first values. Raises what gpiozero does."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the pins back. Never raises."""
        for pin in self.edges:
            pin.close()

    def feed(self, pin: EdgePin, at: float, level: bool) -> None:
        """A pin has another level since `at`."""

    def settle(self, now: float) -> None:
        """All that came before `now` has been fed."""

    @property
    def due(self) -> float | None:
        """When to call `settle` at the latest; None: when something comes."""
        return None

    @property
    def works(self) -> "Sequence[Callable[[], Awaitable[None]]]":
        """What runs beside, as long as it is open."""
        return ()

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """JSON schema of the arguments of the command with its name; None: there is none."""
        return None

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator."""
        raise NotImplementedError


class Debounced(Part):
    """A thing with one pin whose levels count once they have lasted."""

    _debounce: Debounce

    def feed(self, pin: EdgePin, at: float, level: bool) -> None:
        """See Part."""
        for edge in self._debounce.feed(at, level):
            self._certain(*edge)

    def settle(self, now: float) -> None:
        """See Part."""
        for edge in self._debounce.settle(now):
            self._certain(*edge)

    @property
    def due(self) -> float | None:
        """See Part."""
        return self._debounce.due

    def _certain(self, at: float, level: bool) -> None:
        """It has had another level since `at`."""
        raise NotImplementedError


def argument_errors(schema: Mapping[str, Any], args: Mapping[str, Any]) -> str:
    """What is wrong with the names of arguments, or ""."""
    known = schema["properties"]
    for name in args:
        if name not in known:
            return f'no argument "{name}"; known: {", ".join(known)}'
    for name in schema["required"]:
        if name not in args:
            return f'argument "{name}" is missing'
    return ""


def number_in(value: Any, low: float = float("-inf"), high: float = float("inf")) -> float | None:
    """`value` if it is a finite number between the two."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    found = float(value)
    return found if abs(found) < float("inf") and low <= found <= high else None
