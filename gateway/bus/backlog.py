"""What the lanes of a subscription have set aside, to be read beside what is new.

A lane that is far behind can leave what it has not finished here and go on at the head. It is read
like another lane, the oldest first, so a device's readings come in order here as well, but not
between here and its lane. What is set aside is told by positions alone, and finished with the
ledger in one record: a crash repeats the batch that was under way, and loses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.bus.block import Block
from gateway.bus.records import Stretch
from gateway.core.contracts import Batch, Reading
from gateway.core.ids import device_hash

if TYPE_CHECKING:
    from gateway.bus.subscription import Subscription

_MOST = 8  # stretches of a lane; more outages than this in a row, and it waits for their end


@dataclass(slots=True, eq=False)
class _Piece:
    """A stretch at work: its begin is where it is finished. read: where it has been read to."""

    stretch: Stretch
    read: int


class Backlog:
    """See the module. in_flight: readings that were taken and are not finished. oldest: the time
    of the oldest reading, or near it (ns). turn: waits until it may go on. batch: what was taken.
    only_here: what was taken is in the journal no more.
    """

    def __init__(self, subscription: "Subscription", stretches: Sequence[Stretch]) -> None:
        self.in_flight = 0
        self.oldest = 0
        self.turn: Callable[[], Awaitable[None]] | None = None
        self.batch: Batch | None = None
        self.only_here = False
        self.lock = asyncio.Lock()
        self._subscription = subscription
        self._pieces = [_Piece(copy(each), each.begin) for each in stretches]
        self._more = asyncio.Event()
        if self._pieces:
            self._more.set()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def begin(self) -> int | None:
        """The position of the oldest reading that is not finished; None where there is none."""
        return min((piece.stretch.begin for piece in self._pieces), default=None)

    def record(self) -> list[Stretch]:
        """What is not finished."""
        return [copy(piece.stretch) for piece in self._pieces]

    def unread(self) -> list[Stretch]:
        """What has not been read."""
        return [self._rest(piece) for piece in self._pieces if piece.read < piece.stretch.end]

    def unread_before(self, end: int) -> list[Stretch]:
        """What of that lies before a sequence."""
        found = [each for each in self.unread() if each.begin < end]
        for each in found:
            each.end = min(each.end, end)
        return found

    @staticmethod
    def _rest(piece: _Piece) -> Stretch:
        rest = copy(piece.stretch)
        rest.begin = piece.read
        return rest

    def holds(self, device: str, sequence: int) -> bool:
        """Whether the reading at `sequence`, of this device, is still to come from here."""
        return any(each.stretch.holds(device_hash(device), sequence) for each in self._pieces)

    # -- set aside ----------------------------------------------------------------------------

    def add(self, lane: int, begin: int, end: int, oldest: int) -> bool:
        """A lane leaves [begin, end) here; `oldest`: the time of its first reading (ns). False
        where there is too much of it."""
        subscription = self._subscription
        previous = [list(lanes) for lanes in subscription.previous]
        stretch = Stretch(len(subscription.lanes), lane, begin, end, previous)
        own = [piece for piece in self._pieces if piece.stretch.follows(stretch)]
        if own:
            own[0].stretch.end = end
        elif sum(piece.stretch.is_of(stretch) for piece in self._pieces) >= _MOST:
            return False
        else:
            self._pieces.append(_Piece(stretch, begin))
        self.oldest = min(self.oldest, oldest) if len(self._pieces) > 1 else oldest
        self._more.set()
        return True

    # -- read ---------------------------------------------------------------------------------

    async def next_batch(
        self, size: int, wait: float, hold: Callable[[Block], bool] = lambda block: False
    ) -> Batch:
        """Up to `size` readings, the oldest; nothing where they are on `hold`. Waits until there
        are some, and for its turn."""
        while True:
            await self._more.wait()
            if self.turn is not None:
                await self.turn()
            async with self.lock:
                batch, held = await self._take(size, hold)
            if batch or held:
                self.batch = batch
                return batch

    async def _take(self, size: int, hold: Callable[[Block], bool]) -> tuple[Batch, bool]:
        # Lanes may set more aside meanwhile, also what lies before: that is for the next time.
        pieces = [(piece, self._rest(piece)) for piece in self._pieces]
        stretches = [rest for _, rest in pieces]
        first = position = min((rest.begin for rest in stretches), default=0)
        readings, held = list[Reading](), False
        while len(readings) < size and not held:
            ahead = [max(s.begin, position) for s in stretches if s.end > max(s.begin, position)]
            position = min(ahead, default=position)
            block = await self._subscription.source.block(position) if ahead else None
            if block is None:  # all is read, or the rest is lost
                position = max((s.end for s in stretches), default=position)
                break
            held = hold(block)
            if not held:
                found, position = self._part(block, stretches, size - len(readings))
                readings += found
        for piece, rest in pieces:
            piece.read = max(piece.read, min(position, rest.end))
        self._took(readings)
        return Batch(first, position, readings), held

    def _part(
        self, block: Block, stretches: Sequence[Stretch], room: int
    ) -> tuple[list[Reading], int]:
        """At most `room` readings of a block, and where to go on."""
        places = self._subscription.places(block, stretches)
        found = [block.readings[place] for place in places[:room]]
        return found, block.first + places[room] if len(places) > room else block.end

    def _took(self, readings: Sequence[Reading]) -> None:
        self._subscription.ledger.fetched += len(readings)
        self.in_flight = len(readings)
        if readings:
            self.oldest = readings[0].time
        else:
            self._finish()

    def done(self, batch: Batch) -> None:
        """`batch` is finished; as for a lane."""
        self._finish()
        self._subscription.finished(batch)

    def _finish(self) -> None:
        self.in_flight, self.batch, self.only_here = 0, None, False
        for piece in self._pieces:
            piece.stretch.begin = piece.read
        self._pieces = [piece for piece in self._pieces if piece.read < piece.stretch.end]
        if not self._pieces:
            self._more.clear()

    async def set_aside(self) -> bool:
        """What was taken is put back, for later. False where it is in the journal no more."""
        async with self.lock:
            if self.only_here:
                return False
            self._subscription.ledger.fetched -= self.in_flight
            self.in_flight, self.batch = 0, None
            for piece in self._pieces:
                piece.read = piece.stretch.begin
        return True

    def skip(self, end: int, dropped: int) -> None:
        """What lies before `end` is gone; `dropped` of it had not been read. Under the lock."""
        begin = self.begin
        if self.in_flight:
            self.only_here = self.only_here or (begin is not None and begin < end)
        for piece in self._pieces:
            piece.read = max(piece.read, min(end, piece.stretch.end))
        ledger = self._subscription.ledger
        ledger.dropped["retention"] += dropped
        ledger.fetched += dropped
        if not self.in_flight:
            self._finish()
        self._subscription.moved()
