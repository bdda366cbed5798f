"""What somebody wants a device to do, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants a device to do. name: what; args: with which values. id: the asker's,
    the same when it asks again. expires: when it is too late (ns since the epoch), 0 for never.
    device: which one of a source that has several, by its original name."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    expires: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a command. result: what the device answered, JSON; error: why not, for
    people. rejected: it was not tried, and would not be if asked again."""

    status: Literal["ok", "failed", "expired", "rejected"]
    result: Any = None
    error: str = ""


@runtime_checkable
class Actuator(Protocol):
    """A device that can be told to do something."""

    async def execute(self, command: Command) -> Reply:
        """Do it, and say what became of it; may take seconds. Raises nothing of its own."""
        ...


@runtime_checkable
class Ordering(Protocol):
    """An actuator that says whether it orders its commands itself.

    orders: it is given each command as soon as that has come, while others are not ended, and may
    keep it waiting until it expires. Otherwise a device gets one after the other.
    """

    orders: bool
