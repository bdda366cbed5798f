"""A lane of a subscription: an independent cursor over the readings of its devices.

It keeps a device's order, and one that waits holds neither the others nor memory: it reads on from
the journal when it can.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.bus.block import Block
from gateway.bus.records import Stamp
from gateway.core.contracts import Batch, Reading

if TYPE_CHECKING:
    from gateway.bus.subscription import Subscription


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
        began = self.fetched
        try:
            held = await self._read(taken, size - len(readings), hold)
        except BaseException:
            self.fetched = began  # else a batch that nobody waits for any more would be skipped
            raise
        self._subscription.ledger.fetched += len(taken)
        if taken and not self.in_flight:
            self.oldest = taken[0].time
        self.in_flight += len(taken)
        if not self.in_flight:
            self.finished = self.fetched  # nothing of ours was there
        readings += taken
        return held

    async def _read(self, taken: list[Reading], room: int, hold: Callable[[Block], bool]) -> bool:
        source = self._subscription.source
        while len(taken) < room:
            head = source.head()
            block = await source.block(self.fetched)
            if block is None:
                self.fetched = max(self.fetched, head)  # what lay up to there is lost
                break
            if hold(block):
                return True
            share = self._subscription.split(block)[self.number]
            part = self._part(block, share, room - len(taken))
            if part and not (taken or self.in_flight):
                self.stored = block.meta.stamp
            taken += part
        return False

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
