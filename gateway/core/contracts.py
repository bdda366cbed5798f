"""What the parts of the gateway hand each other. Everything here is data or a protocol; no I/O.

The unit of work is a burst, not a message: what comes off the wire in one read is decoded,
journalled, acknowledged and delivered together, so that the cost of a task, a lock or a wake-up
is shared.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntFlag
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from gateway.core.errors import ConfigError
from gateway.core.events import Event

Value = float | int | bool | str
"""One measured value. Numbers are floats unless a device declares otherwise, so that `21` and
`21.5` never clash in a typed store."""


class Flag(IntFlag):
    """Marks on a reading; kept in the journal."""

    NONE = 0
    UNSYNCED = 1  # taken before the clock was set
    LATE = 2  # waited somewhere before it reached us
    HISTORICAL = 4  # replayed on request
    FORWARDED = 8  # came from another gateway's mqtt bridge; such a bridge passes it on no more


class Reading(msgspec.Struct, gc=False):
    """One report of one device at one time.

    device: id, `[a-z0-9_-]+`. time: ns since the epoch, UTC. values: metric -> value; metric
    names are dotted paths. flags: `Flag`, an int because IntFlag arithmetic costs a microsecond.
    """

    device: str
    time: int
    values: dict[str, Value]
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame that did not become readings. reason: a short stable word, as in DecodeError, or
    "rate"; detail: for people."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything in the burst is on disk: as readings, or as dead letters. rejected: the frames
    that are no readings, by their place in the burst; told only to sources that are not patient."""

    rejected: Mapping[int, Rejected] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Busy:
    """The burst could not be stored; the sender may try again after `after` seconds."""

    after: float


Outcome = Stored | Busy


def boottime() -> int:
    """CLOCK_BOOTTIME (ns): never set, counts always, begins with each boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Burst:
    """Frames as they came off the wire in one read, in columns. All columns have one length.

    received: ns since the epoch, when the burst was read. topics: where each frame came from, in
    the source's own terms (an MQTT topic, a CoAP path). payloads: as received. packet_ids and
    repeats: for protocols that send again what was not acknowledged (MQTT QoS 1); a repeat is a
    frame that the other side marked as sent before (DUP).
    readings: for sources that have no wire format (sensors read by us); then topics and payloads
    are empty and nothing is decoded.
    on_done: called on the event loop exactly once, in arrival order for each source, once the
    burst is stored or has been refused. Must not block.
    patient: True when the sender can be kept waiting (MQTT's window), False when it wants an
    answer now (CoAP) and gets Busy if the disk refuses.
    urgent: nothing more comes from this source before it is acknowledged: commit at once.
    late: the frames waited somewhere before they came.
    waited: how long the first frame may have lain unread, because more was to gather (s).
    boottime: `received` by CLOCK_BOOTTIME, by which it is put right where our clock was wrong.
    renewed: the first one of a new session: nothing that came before it is sent again.
    forwarded: which frames come from another gateway's mqtt bridge; empty where none does.
    faults: what the source itself found wrong with a frame, as (reason, detail) of a DecodeError:
    such a one becomes a dead letter and is not decoded; empty where all are good.
    """

    received: int
    topics: Sequence[str] = ()
    payloads: Sequence[bytes] = ()
    packet_ids: Sequence[int] = ()
    repeats: Sequence[bool] = ()
    readings: Sequence[Reading] | None = None
    on_done: Callable[[Outcome], None] | None = None
    patient: bool = True
    urgent: bool = False
    late: bool = False
    waited: float = 0.0
    boottime: int = field(default_factory=boottime)
    renewed: bool = False
    forwarded: Sequence[bool] = ()
    faults: Sequence[tuple[str, str] | None] = ()

    def __len__(self) -> int:
        return len(self.payloads) if self.readings is None else len(self.readings)

    def done(self, outcome: Outcome) -> None:
        """Tell the source what became of the burst."""
        if self.on_done is not None:
            self.on_done(outcome)


@runtime_checkable
class Device(Protocol):
    """A source. It connects, reads, and reconnects by itself until its iterator is closed.

    name: the source's id in config, ledger and health; unique among devices.
    """

    name: str

    def listen(self) -> AsyncIterator[Burst]:
        """Bursts, as they come. Ends only when closed; raises Denied or ConfigError to stop."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A device that knows how it is doing. trouble: why it hears nothing at the moment, or "";
    denied: whether a person must act first. dropped: frames it had to throw away, by reason.
    retained: messages that only told a last state."""

    trouble: str
    denied: bool
    dropped: Mapping[str, int]
    retained: int


@runtime_checkable
class Detailed(Protocol):
    """A device with more to say of itself. concern: what is wrong although data comes, or ""."""

    @property
    def concern(self) -> str: ...

    def details(self) -> Mapping[str, Any]:
        """For the status, JSON; must not block."""
        ...


@runtime_checkable
class Described(Protocol):
    """A device that can say what it is: model, units, source protocol."""

    def info(self) -> Mapping[str, Any]:
        """For `meta/<device>/info`; may read files."""
        ...


@runtime_checkable
class TopicMapped(Protocol):
    """A device whose frames carry topics that name the device they come from."""

    def device_of(self, topic: str) -> str:
        """The original device name in `topic` (not yet an id). Raises DecodeError."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants a device to do. name: what; args: with which values. id: the asker's,
    the same when it asks again. expires: when it is too late (ns since the epoch), 0 for never.
    device: the original name of the device, for sources that speak for several."""

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
class CodecMapped(Protocol):
    """A device whose frames carry topics that say how they are written."""

    def codec_of(self, topic: str) -> "Codec":
        """The codec for frames with that topic. Raises DecodeError."""
        ...


class Codec(Protocol):
    """Bytes to readings. One instance serves one source and may keep caches."""

    def decode(
        self, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[int | None, dict[str, Value]]]:
        """(time in ns or None where the payload has none, values) of each report in `payload`.

        Raises DecodeError; a payload is taken whole or not at all.
        """
        ...


@runtime_checkable
class Plain(Protocol):
    """A codec with a quick way for payloads that are like those before."""

    def plain(self, payloads: Sequence[bytes]) -> Sequence[dict[str, Value] | None]:
        """What is in each payload by name, if that is one flat object; None where it is not, or
        may be over a limit. It is what `decode` would give if that has given, of another payload
        with the same names in the same order, one report without a time and with these names.
        Never raises."""
        ...


@runtime_checkable
class Addressed(Protocol):
    """A codec that goes by the topic, or whose payloads tell of several devices."""

    def addressed(
        self, topic: str, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[str, int | None, dict[str, Value]]]:
        """As `decode`; with each report the original name of its device, or "" for the device that
        the topic names, whose id `device` is. There may be no report where a payload is of no
        concern."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A codec that knows units."""

    def units(self, device: str) -> Mapping[str, str]:
        """Unit by metric, as far as the configuration or the device itself has told."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A codec that now and then needs something of whoever sends. ask: publishes a payload on a
    topic; set from outside where the source is Publishing."""

    ask: Callable[[str, bytes], None] | None


@dataclass(frozen=True, slots=True)
class HostState:
    """Where senders look whether somebody hears them. message: the payload, which is retained, by
    whether we are online and the time since when (ms)."""

    topic: str
    message: Callable[[bool, int], bytes]


@runtime_checkable
class Publishing(Protocol):
    """A source that can publish where it hears."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Soon, at most once. To be called on the event loop."""
        ...


@dataclass(slots=True)
class Tally:
    """What became of a batch's readings; each number is counted where it happens."""

    delivered: int = 0
    dead_lettered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """What one lane of a bridge delivers in one attempt: readings in journal order.

    first, end: the half-open range of journal sequences that this batch completes; readings of
    other devices or lanes inside the range are not in it.
    """

    first: int
    end: int
    readings: list[Reading]
    tally: Tally = field(default_factory=Tally)

    def __len__(self) -> int:
        return len(self.readings)

    def part(self, start: int, stop: int) -> "Batch":
        """The same batch, with the readings [start:stop] only; the tally is shared."""
        return Batch(self.first, self.end, self.readings[start:stop], self.tally)

    def leave_out(self, flag: Flag) -> None:
        """Take out what carries a flag, and count it as dropped for that."""
        bit = flag.value
        kept = [reading for reading in self.readings if not reading.flags & bit]
        if len(kept) < len(self.readings):
            self.tally.dropped[str(flag.name).lower()] = len(self.readings) - len(kept)
            self.readings = kept


Conn = TypeVar("Conn")
ConnT = TypeVar("ConnT")


class Bridge(Protocol[ConnT]):
    """A sink. Its author writes `connect` and `send`; queueing, retry, health and pooling
    come from outside."""

    name: str

    def connect(self) -> AbstractAsyncContextManager[ConnT]:
        """A connection, checked as far as that is cheap. Raises Unavailable or Denied."""
        ...

    async def send(self, conn: ConnT, batch: Batch) -> None:
        """Write `batch`; returning means the other side has it.

        Raises Unavailable, Throttled, Denied or Rejected.
        """
        ...


@runtime_checkable
class Endpoints(Protocol):
    """A bridge whose other side has several endpoints: whatever one of them takes, all have. The
    pool spreads the writes over them. endpoints: their names, such as URLs, without secrets."""

    @property
    def endpoints(self) -> Sequence[str]: ...

    def connect(self, endpoint: str = ...) -> AbstractAsyncContextManager[Any]:
        """A connection to that endpoint; to any if none is named. Raises Unavailable or Denied."""
        ...


@runtime_checkable
class PooledByDriver(Protocol):
    """A bridge whose `connect` gives a pool that the driver's library brings (an httpx client, a
    psycopg_pool). It is opened once for each endpoint and lent to as many writes at a time as
    `pool.max` allows; closing what is old or broken is left to it."""

    pooled_by_driver: Literal[True]


@runtime_checkable
class Selective(Protocol):
    """A bridge that must not be given every reading. leaves_out: readings with any of these flags
    (`Flag`) are counted as dropped, with the flag's name in lower case as the reason."""

    leaves_out: Flag


@runtime_checkable
class Checkable(Protocol):
    """A bridge that can be asked whether it may write, without writing anything. The pool asks it
    of connections that nobody has used for a while."""

    async def check(self, conn: Any) -> None:
        """Return if a batch would be let in. Raises Unavailable or Denied."""
        ...


Send = Callable[[Batch], Awaitable[None]]


class Stage(Protocol):
    """A link of the chain around a bridge (see gateway.stages.compose)."""

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Do something before, after or instead of `await send(batch)`."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach an MQTT broker. Empty strings mean: not set. password is in the clear here;
    never log this object (its repr leaves the password out)."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True
    protocol: str = "5"  # "5" or "3.1.1"


def _no_codec(name: str) -> Codec:
    raise ConfigError(f"no codec {name} here")


@dataclass(frozen=True, slots=True)
class Context:
    """What a driver may use of the house.

    gateway: the gateway's id. root: first level of our own MQTT topics. data_dir: where it may
    keep files. broker: the gateway's broker. emit: tell the bus that something happened.
    payload: largest payload taken (bytes); more of one need not be read.
    facts: what only the house knows: "broker_pid", its broker's process; "health", its health in
    short.
    gather: the longest a reading waits for its commit as things are set (s); against it a source
    may weigh how long it lets what comes gather.
    codec: a codec by its name, with its default settings; raises ConfigError where it is not to be
    had.
    """

    gateway: str
    root: str
    data_dir: Path
    broker: Endpoint
    emit: Callable[[Event], None]
    payload: int = 256_000
    facts: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    gather: Callable[[], float] = lambda: 1.0
    codec: Callable[[str], Codec] = _no_codec
