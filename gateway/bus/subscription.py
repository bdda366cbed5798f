"""A durable subscription: a filter, lanes that each stand somewhere in the journal, a ledger.

A lane is an independent cursor over the readings of its devices (lane = hash of the device
modulo the number of lanes). Each keeps a device's order, and one that waits holds neither the
others nor memory: it reads on from the journal when it can.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass

from gateway.bus.backlog import Backlog
from gateway.bus.block import Block
from gateway.bus.records import CursorRecord, Stamp, Stretch
from gateway.core.contracts import Batch, Reading
from gateway.core.ids import device_filter, device_hash
from gateway.core.ledger import BridgeLedger

_CACHE = 20_000  # devices; above the most a gateway has, so that eviction is the exception


@dataclass(slots=True)
class Share:
    """A lane's part of a block. places: indices in the block, in order."""

    places: Sequence[int]
    readings: Sequence[Reading]


class Lane:
    """One cursor. fetched: the sequence up to which it has taken readings; finished: up to which
    all of them were delivered, dead-lettered or dropped. batch: what was taken; stored: when the
    first of it was; only_here: some of it is in the journal no more."""

    def __init__(self, subscription: "Subscription", number: int, position: int) -> None:
        self.number = number
        self.fetched = position
        self.finished = position
        self.in_flight = 0
        self.oldest = 0
        self.asking = False  # whether somebody waits for its next batch
        self.batch: Batch | None = None
        self.stored = Stamp()
        self.only_here = False
        self.lock = asyncio.Lock()
        self._subscription = subscription

    async def next_batch(
        self, size: int, wait: float, hold: Callable[[Block], bool] = lambda block: False
    ) -> Batch:
        """The lane's next readings: up to `size`, or what came within `wait` seconds of the
        first. Waits for the first one as long as it takes. A block that is on `hold` is not
        begun: what lies before it, maybe nothing."""
        self.asking = True
        try:
            self.batch = await self._gathered(size, wait, hold)
            return self.batch
        finally:
            self.asking = False

    async def _gathered(self, size: int, wait: float, hold: Callable[[Block], bool]) -> Batch:
        source = self._subscription.source
        first, readings = self.fetched, list[Reading]()
        deadline: float | None = None
        while True:
            async with self.lock:
                held = await self._take(readings, size, hold)
            if held or len(readings) >= size:
                break
            if readings and deadline is None:
                deadline = asyncio.get_running_loop().time() + wait
            if not await source.more(self.fetched, deadline):
                break
        return Batch(first, self.fetched, readings)

    async def _take(
        self, readings: list[Reading], size: int, hold: Callable[[Block], bool]
    ) -> bool:
        """Add what the journal holds for this lane now, up to `size` readings; whether it stands
        before a block that is on hold."""
        taken: list[Reading] = []
        subscription = self._subscription
        room, held = size - len(readings), False
        while len(taken) < room:
            head = subscription.source.head()
            block = await subscription.source.block(self.fetched)
            if block is None:
                self.fetched = max(self.fetched, head)  # what lay up to there is lost
                break
            held = hold(block)
            if held:
                break
            share = subscription.split(block)[self.number]
            part = self._part(block, share, room - len(taken))
            if part and not (taken or self.in_flight):
                self.stored = block.meta.stamp
            taken += part
        subscription.ledger.fetched += len(taken)
        if taken and not self.in_flight:
            self.oldest = taken[0].time
        self.in_flight += len(taken)
        if not self.in_flight:
            self.finished = self.fetched  # nothing of ours was there
        readings += taken
        return held

    def _part(self, block: Block, share: Share, room: int) -> Sequence[Reading]:
        skip = 0
        if self.fetched > block.first:
            offset = self.fetched - block.first
            skip = sum(place < offset for place in share.places)
        part = share.readings[skip : skip + room]
        whole = skip + len(part) == len(share.readings)
        self.fetched = block.end if whole else block.first + share.places[skip + len(part)]
        return part

    def done(self, batch: Batch) -> None:
        """`batch` is finished: position and ledger move together, so that after a crash what is
        sent again is also counted again."""
        self.in_flight, self.batch, self.only_here = 0, None, False
        self.finished = self.fetched
        self._subscription.finished(batch)

    async def set_aside(self) -> bool:
        """Leave what was taken, and all that has come since, to the backlog, and go on with what is
        new. False where nothing is new, or where that cannot be."""
        subscription = self._subscription
        async with self.lock:
            head = subscription.source.head()
            if self.only_here or self.fetched >= head:
                return False
            if not subscription.backlog.add(self.number, self.finished, head, self.oldest):
                return False
            subscription.ledger.fetched -= self.in_flight
            self.in_flight, self.batch = 0, None
            self.fetched = self.finished = head
        subscription.moved()
        return True

    def retiring(self, end: int) -> None:
        """What lies before `end` is about to go."""
        self.only_here = self.only_here or (self.in_flight > 0 and self.finished < end)

    def skip(self, sequence: int, dropped: int) -> None:
        """What lies before `sequence` is gone; `dropped` of it were for this lane."""
        self.fetched = max(self.fetched, sequence)
        if not self.in_flight:
            self.finished = self.fetched
        ledger = self._subscription.ledger
        ledger.dropped["retention"] += dropped
        ledger.fetched += dropped
        self._subscription.moved()


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
