"""What happens in the gateway besides readings. Events go out live on the bus; stages subscribe."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one part. kind: device, bridge, stage or broker; name: which.
    at: ns since the epoch."""

    kind: str
    name: str
    at: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Event):
    """A connection was opened. detail: to whom, for people. forgotten: the other side knew nothing
    of an earlier one."""

    detail: str = ""
    forgotten: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected(Event):
    """A connection was lost or refused. reason: for people."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(Event):
    """A bridge took `count` readings in `seconds`."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """An attempt failed. error: the class in the error tree (lower case); reason: its text."""

    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered(Event):
    """`count` frames or readings became dead letters at stage `kind`/`name`."""

    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited(Event):
    """A source begins to send more than a limit allows. limit: its key in `limits`; example: a
    device of those that do."""

    limit: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropsSoon(Event):
    """A bridge is so far behind that the journal will drop readings it has not had, in about
    `seconds`; None where that cannot be told."""

    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck(Event):
    """A part begins to hold up the others, or ends to (`over`). stage: its name in profiling;
    cause: service, queue, disk, remote, cpu or blocked; text: the same for people."""

    stage: str
    cause: str
    text: str
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen(Event):
    """A retained message told us the last state of a device; it is not a new reading.

    name is the device's id.
    """

    topic: str
    payload: bytes
