"""Small records that ride in journal blocks: stamps, repeat keys, cursors with their ledger."""

from collections.abc import Sequence

import msgspec
import numpy as np


class Stamp(msgspec.Struct, array_like=True):
    """When a block was written: boot id, monotonic ns (CLOCK_BOOTTIME), wall ns, and whether the
    clock was set. Boot id and monotonic time let wrong times be told right later (see times.py).

    base: where readings of the block were taken while the clock was not set, what their times
    were made with: time = CLOCK_BOOTTIME + base. Otherwise 0.
    """

    boot: str = ""
    monotonic: int = 0
    wall: int = 0
    synced: bool = True
    base: int = 0


class RepeatKeys(msgspec.Struct, array_like=True):
    """What a source's frames in this block are recognised by if they are sent again.

    packet_ids: uint16 each; in a block as differences, each to the one before it: a broker counts,
    and what is alike packs to nothing. hashes: CRC-32 of topic and payload, uint32 each.
    """

    source: str
    packet_ids: bytes
    hashes: bytes


class ReplayRecord(msgspec.Struct, array_like=True):
    """A stretch of time that a bridge sends again on request.

    start, end: ns, of the readings' own times. devices: a shell pattern. begin, until, position:
    where in the journal it begins, ends, and has come to (sequences). sent, refused: readings.
    reaches: ns, when the oldest block that was still there was written. state: running, done,
    stopped or failed.
    """

    start: int
    end: int
    devices: str
    begin: int
    until: int
    position: int
    reaches: int = 0
    sent: int = 0
    refused: int = 0
    state: str = "running"


class Stretch(msgspec.Struct, array_like=True):
    """Readings that were set aside: those with sequences begin … end-1 of lane `lane` of `lanes`.
    previous: the lanes before their number was changed, as they stood then: what those had
    finished is not among them."""

    lanes: int
    lane: int
    begin: int
    end: int
    previous: list[list[int]] = []

    def holds(self, device: int, sequence: int) -> bool:
        """Whether a reading is among them. device: the hash of its device."""
        return (
            self.begin <= sequence < self.end
            and device % self.lanes == self.lane
            and not any(sequence < lanes[device % len(lanes)] for lanes in self.previous)
        )

    def is_of(self, other: "Stretch") -> bool:
        """Whether both are of one lane."""
        return (self.lanes, self.lane) == (other.lanes, other.lane)

    def follows(self, other: "Stretch") -> bool:
        """Whether `other` begins where this one ends, and both are one."""
        return self.is_of(other) and self.end == other.begin and self.previous == other.previous


def merged(keys: Sequence[RepeatKeys]) -> list[RepeatKeys]:
    """One of each source, as it goes into a block: recovery gives back a number of blocks, however
    many bursts each had."""
    sources = dict.fromkeys(each.source for each in keys)
    return [
        RepeatKeys(
            source,
            _differences(b"".join(each.packet_ids for each in keys if each.source == source)),
            b"".join(each.hashes for each in keys if each.source == source),
        )
        for source in sources
    ]


def unmerged(keys: RepeatKeys) -> RepeatKeys:
    """What `merged` made, with packet ids again."""
    ids = np.cumsum(np.frombuffer(keys.packet_ids, np.uint16), dtype=np.uint16)
    return RepeatKeys(keys.source, ids.tobytes(), keys.hashes)


def _differences(packet_ids: bytes) -> bytes:
    return np.diff(np.frombuffer(packet_ids, np.uint16), prepend=np.uint16(0)).tobytes()


class CursorRecord(msgspec.Struct, array_like=True):
    """Where a durable subscription stands, with its ledger up to there.

    lanes: for each lane the sequence of the first reading it has not finished. previous: the
    lanes before their number was changed (each time), until the new ones have passed them.
    matched counts to the end of the block that carries this record; the rest counts what the
    lanes have finished.
    filter: what matched counts; a changed filter makes it void. removed_at: ns when the
    configuration no longer had it, else 0. paused: somebody has stopped it; replay: what it sends
    again, or the last it sent; both outlive a restart. aside: what lanes have left behind, to be
    sent beside what is new.
    """

    lanes: list[int]
    previous: list[list[int]] = []
    matched: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    dropped: dict[str, int] = {}
    replayed: int = 0
    filter: str = "*"
    removed_at: int = 0
    paused: bool = False
    replay: ReplayRecord | None = None
    aside: list[Stretch] = []


class Meta(msgspec.Struct, array_like=True):
    """What becomes durable with a block besides readings. cursors: those that moved; in a
    segment's first block all of them. removed: cursors that are gone."""

    stamp: Stamp = msgspec.field(default_factory=Stamp)
    keys: list[RepeatKeys] = []
    cursors: dict[str, CursorRecord] = {}
    removed: list[str] = []
