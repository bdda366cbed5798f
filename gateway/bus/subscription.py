"""A durable subscription: a filter, lanes that each stand somewhere in the journal, a ledger.

A device's readings are one lane's (lane = hash of the device modulo the number of lanes).
"""

from collections.abc import Awaitable, Callable, Sequence
from copy import copy

from gateway.bus.backlog import Backlog
from gateway.bus.block import Block
from gateway.bus.lane import Lane, Share
from gateway.bus.records import CursorRecord, Stretch
from gateway.core.contracts import Batch, Reading
from gateway.core.ids import device_filter, device_hash
from gateway.core.ledger import BridgeLedger

_CACHE = 20_000  # devices; above the most a gateway has, so that eviction is the exception


class Source:
    """Where lanes read: the bus. block: the block that holds a sequence, or the next one there
    is. more: wait until there is something at or after a sequence; False at the deadline."""

    def __init__(
        self,
        block: Callable[[int], Awaitable[Block | None]],
        more: Callable[[int, float | None], Awaitable[bool]],
        head: Callable[[], int],
        move: Callable[[str, CursorRecord], None],
    ) -> None:
        self.block = block
        self.more = more
        self.head = head
        self.move = move


class Subscription:
    """See the module. Made by Bus.subscribe.

    drops_in: seconds until retention begins to drop readings it has not had, as things are; None
    where that cannot be said. endangered: it stands in the oldest quarter of what is kept.
    counted: False while `matched` is being counted anew: a crash then makes the next life count.
    """

    def __init__(
        self, name: str, patterns: Sequence[str], lanes: int, record: CursorRecord, source: Source
    ) -> None:
        self.name = name
        self.filter = " ".join(patterns)
        self.source = source
        self.ledger = BridgeLedger(
            matched=record.matched,
            delivered=record.delivered,
            dead_lettered=record.dead_lettered,
            replayed=record.replayed,
        )
        self.ledger.dropped.update(record.dropped)
        self.drops_in: float | None = None
        self.endangered = False
        self.counted = True
        self.ledger.fetched = record.delivered + record.dead_lettered + sum(record.dropped.values())
        self.paused = record.paused
        self.replay = record.replay
        self.backlog = Backlog(self, record.aside)
        self._all = tuple(patterns) == ("*",)
        self._test = device_filter(patterns)
        self._wanted: dict[str, bool] = {}
        self._lanes: dict[str, int] = {}
        # What the lanes of another number had finished is not sent again, although the new ones
        # begin at the lowest.
        changed = len(record.lanes) != lanes
        self.previous = [*record.previous, *([record.lanes] if changed else [])]
        starts = [min(record.lanes)] * lanes if changed else record.lanes
        self.lanes = [Lane(self, number, position) for number, position in enumerate(starts)]

    @property
    def position(self) -> int:
        """The sequence of the oldest reading that is not finished."""
        begin = self.backlog.begin
        return self.reached if begin is None else min(self.reached, begin)

    @property
    def reached(self) -> int:
        """The same without what lanes have set aside."""
        return min(lane.finished for lane in self.lanes)

    @property
    def unread(self) -> int:
        """The sequence of the oldest reading that nobody has taken."""
        return min([*self.fetched, *(each.begin for each in self.backlog.unread())])

    @property
    def ahead(self) -> int:
        """Readings that lie ahead of its lanes, or a few more; not those that were set aside."""
        waiting = self.ledger.matched - self.ledger.fetched
        return min(waiting, self.source.head() - min(self.fetched)) if self.backlog else waiting

    @property
    def fetched(self) -> list[int]:
        """For each lane the sequence up to which it has taken readings."""
        return [lane.fetched for lane in self.lanes]

    @property
    def pending(self) -> int:
        """Readings for this subscription that are journalled and not finished."""
        in_flight = sum(lane.in_flight for lane in self.lanes) + self.backlog.in_flight
        if not self.backlog and all(lane.fetched >= self.source.head() for lane in self.lanes):
            return in_flight  # by position nothing is left, whatever the counters say
        return in_flight + self.ledger.matched - self.ledger.fetched

    def wants(self, device: str) -> bool:
        """Whether readings of `device` are for this subscription."""
        known = self._wanted.get(device)
        if known is None:
            if len(self._wanted) >= _CACHE:
                self._wanted.clear()
            known = self._wanted[device] = self._test(device)
        return known

    def match(self, readings: Sequence[Reading]) -> int:
        """How many of these readings are for this subscription."""
        return len(readings) if self._all else sum(self.wants(r.device) for r in readings)

    def split(self, block: Block) -> list[Share]:
        """Each lane's part of a block; computed once for all lanes and kept with the block."""
        known = block.splits.get(self)
        if isinstance(known, list):
            return known
        shares = self._split(block)
        block.splits[self] = shares
        return shares

    def _split(self, block: Block) -> list[Share]:
        lanes = len(self.lanes)
        if self._all and lanes == 1 and not self.previous:
            return [Share(range(len(block.readings)), block.readings)]
        known = self._lanes.get
        # One more than there are: the last one is for what is not wanted.
        places: list[list[int]] = [[] for _ in range(lanes + 1)]
        for place, reading in enumerate(block.readings):
            device = reading.device
            lane = known(device)
            places[self._lane_of(device) if lane is None else lane].append(place)
        del places[-1]
        if self.previous:
            places = [[p for p in own if not self._was_finished(block, p)] for own in places]
        return [Share(own, [block.readings[p] for p in own]) for own in places]

    def _lane_of(self, device: str) -> int:
        """The number of the device's lane; that of none where its readings are not wanted."""
        if len(self._lanes) >= _CACHE:
            self._lanes.clear()
        count = len(self.lanes)
        lane = device_hash(device) % count if self._all or self.wants(device) else count
        self._lanes[device] = lane
        return lane

    def _was_finished(self, block: Block, place: int) -> bool:
        device, sequence = device_hash(block.readings[place].device), block.first + place
        return any(sequence < lanes[device % len(lanes)] for lanes in self.previous)

    def places(self, block: Block, aside: Sequence[Stretch]) -> list[int]:
        """Where in a block the readings are that were set aside."""
        near = [each for each in aside if each.begin < block.end and each.end > block.first]
        if not near:
            return []
        return [
            place
            for place, reading in enumerate(block.readings)
            if self.wants(reading.device)
            and any(each.holds(device_hash(reading.device), block.first + place) for each in near)
        ]

    def finished(self, batch: Batch) -> None:
        """Count what became of a batch."""
        self.ledger.delivered += batch.tally.delivered
        self.ledger.dead_lettered += batch.tally.dead_lettered
        self.ledger.dropped.update(batch.tally.dropped)
        self.moved()

    def moved(self) -> None:
        """Give the journal the new positions; they ride in its next block."""
        self.source.move(self.name, self.record())

    def record(self) -> CursorRecord:
        """Where the subscription stands. `matched` is filled in by the journal."""
        ledger, reached = self.ledger, self.reached
        self.previous = [lanes for lanes in self.previous if max(lanes) > reached]
        return CursorRecord(
            lanes=[lane.finished for lane in self.lanes],
            previous=self.previous,
            matched=ledger.matched,
            delivered=ledger.delivered,
            dead_lettered=ledger.dead_lettered,
            dropped=dict(ledger.dropped),
            replayed=ledger.replayed,
            filter=self.filter if self.counted else "",
            paused=self.paused,
            # A copy: the journal's thread writes it down while this one is counted on.
            replay=copy(self.replay),
            aside=self.backlog.record(),
        )
