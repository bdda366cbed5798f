"""What comes off the wire in one read, and what became of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.contracts.readings import Reading


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
