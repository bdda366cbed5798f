"""The durable message bus: publish, subscribe (durable or live), acknowledge.

A small contract on purpose: correctness comes from the order of writes, never from a transaction
shared by two objects, so that another log (NATS JetStream) can stand behind it.
"""

import asyncio
import logging
import time
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from gateway.bus.block import Block, CorruptBlockError
from gateway.bus.gather import Entry
from gateway.bus.journal import Journal
from gateway.bus.live import Item, LiveSubscription
from gateway.bus.records import CursorRecord, RepeatKeys
from gateway.bus.recovery import Recovered
from gateway.bus.segment import Segment, read_block, read_meta, scan
from gateway.bus.subscription import Source, Subscription
from gateway.core.settings import parse_duration

log = logging.getLogger(__name__)

_TAIL = 20_000  # readings kept decoded behind the head: whoever keeps up never reads the disk
_CACHED = 8  # blocks read back, shared by lanes that catch up side by side
_HOUSEKEEPING = 5.0
_FORGET = 7 * 86_400 * 10**9  # a removed subscription's cursor is kept so long (ns)


class Bus:
    """See the module. `publish` and everything else is called on the event loop."""

    def __init__(self, journal: Journal, recovered: Recovered) -> None:
        self.journal = journal
        self.subscriptions: dict[str, Subscription] = {}
        self.commit_observers: list[Callable[[int, float], None]] = []
        self._recovered = recovered
        self._tail: deque[Block] = deque()
        self._tail_size = 0
        self._cache: OrderedDict[int, asyncio.Task[Block | None]] = OrderedDict()
        self._waiters: list[asyncio.Future[None]] = []
        self._room: list[asyncio.Future[None]] = []
        self._live: list[LiveSubscription] = []
        self._head = journal.next
        self._running = False
        self._source = Source(self.block, self.more, lambda: self._head, journal.move)

    @property
    def head(self) -> int:
        """The sequence after the last committed reading."""
        return self._head

    def recovered_keys(self, source: str) -> Sequence[RepeatKeys]:
        """What a source's frames that were journalled last are recognised by."""
        return list(self._recovered.keys.get(source, ()))

    # -- publishing -------------------------------------------------------------------------

    def publish(self, entry: Entry) -> None:
        """Journal an entry's readings; `entry.done` is called once they are durable."""
        if entry.readings:
            for name, subscription in self.subscriptions.items():
                count = subscription.match(entry.readings)
                if count:
                    entry.matched[name] = count
        self.journal.append(entry)

    async def room(self, limit: int) -> None:
        """Wait until fewer than `limit` readings wait for their commit."""
        while self.journal.backlog >= limit:
            waiter = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter

    def _committed(self, block: Block, entries: Sequence[Entry], took: float) -> None:
        if block.readings:
            self._head = block.end
            self._tail.append(block)
            self._tail_size += len(block.readings)
            while self._tail_size > _TAIL and len(self._tail) > 1:
                self._tail_size -= len(self._tail.popleft().readings)
        sequence = block.first
        for entry in entries:
            entry.first = sequence
            sequence += len(entry.readings)
            for name, count in entry.matched.items():
                self._matched(name, count)
            if entry.done is not None:
                entry.done()
        for waiter in (*self._waiters, *self._room):
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        self._room.clear()
        for observer in self.commit_observers:
            observer(len(block.readings), took)

    def _matched(self, name: str, count: int) -> None:
        if name in self.subscriptions:
            self.subscriptions[name].ledger.matched += count
        elif name in self._recovered.cursors:  # published before it was unsubscribed
            self._recovered.cursors[name].matched += count

    # -- live -------------------------------------------------------------------------------

    def emit(self, item: Item) -> None:
        """Tell every live subscription."""
        for subscription in self._live:
            subscription.put(item)

    @contextmanager
    def live(self, limit: int = 1_000) -> Iterator[LiveSubscription]:
        """A live subscription for as long as the context lasts; `limit`: items it may hold."""
        subscription = LiveSubscription(limit)
        self._live.append(subscription)
        try:
            yield subscription
        finally:
            self._live.remove(subscription)

    # -- durable ----------------------------------------------------------------------------

    async def subscribe(
        self, name: str, patterns: Sequence[str] = ("*",), start: str = "now", lanes: int = 1
    ) -> Subscription:
        """The durable subscription `name`, where it stopped, or new at `start`: now, earliest or
        a time ago such as -7d. Its identity is its name alone; filter and lanes may change, also
        while it is there: the one returned takes its place."""
        record = self._record_of(name)
        new = record is None
        if record is None:
            position = await asyncio.to_thread(self._position, start)
            record = CursorRecord([position], filter=" ".join(patterns))
        subscription = Subscription(name, patterns, lanes, record, self._source)
        self.subscriptions[name] = subscription  # `publish` counts for it from here on
        self.journal.move(name, subscription.record())
        if (
            (new and subscription.position < self._head)
            or record.removed_at
            or record.filter != subscription.filter
        ):
            # What `matched` counted is void, for it was for another filter or not at all.
            await self._recount(subscription)
        return subscription

    def unsubscribe(self, name: str) -> None:
        """Nobody takes this subscription's readings any more; where it stood is kept for a week,
        for whoever subscribes under its name again."""
        record = self.subscriptions.pop(name).record()
        record.removed_at = time.time_ns()
        self._recovered.cursors[name] = record
        self.journal.move(name, replace(record))

    def _record_of(self, name: str) -> CursorRecord | None:
        there = self.subscriptions.get(name)
        return self._recovered.cursors.get(name) if there is None else there.record()

    async def _recount(self, subscription: Subscription) -> None:
        """Count again what lies ahead of a subscription: up to here by reading it, from here on
        as it is published."""
        ledger = subscription.ledger
        until, counted = self._head, ledger.matched
        if self._running:
            here = asyncio.get_running_loop().create_future()
            mark = Entry([], gather=0.0)
            mark.done = lambda: here.set_result(ledger.matched)
            self.journal.append(mark)
            counted = await here
            until = mark.first
        difference = ledger.fetched + await self._count(subscription, until) - counted
        ledger.matched += difference
        self.journal.recount(subscription.name, difference)

    async def _count(self, subscription: Subscription, until: int) -> int:
        """How many readings before `until` the subscription's lanes have ahead."""
        count = 0
        async for block in self.blocks(subscription.position, follow=False):
            if block.first >= until:
                break
            for lane, share in zip(subscription.lanes, subscription.split(block), strict=True):
                count += sum(lane.fetched <= block.first + p < until for p in share.places)
        return count

    def _position(self, start: str) -> int:
        if start == "now":
            return self._head
        if start == "earliest":
            return self.journal.start
        since = time.time_ns() - int(parse_duration(start.removeprefix("-")) * 1e9)
        for segment in reversed(self.journal.segments):
            self._index(segment)
            for number in reversed(range(len(segment.offsets))):
                if read_meta(segment, number).stamp.wall < since:
                    return read_block(segment, number).end
        return self.journal.start

    # -- reading ----------------------------------------------------------------------------

    async def blocks(self, position: int, *, follow: bool = True) -> AsyncIterator[Block]:
        """Every block from the one that holds `position` on; with `follow`, without end."""
        while True:
            block = await self.block(position)
            if block is not None:
                yield block
                position = block.end
            elif not follow:
                return
            else:
                await self.more(position, None)

    async def block(self, sequence: int) -> Block | None:
        """The block that holds `sequence`, or the next one there is; None at the head."""
        if sequence >= self._head:
            return None
        if self._tail and sequence >= self._tail[0].first:
            number = bisect_right(self._tail, sequence, key=lambda b: b.first) - 1
            block = self._tail[number]
            if sequence < block.end:
                return block
            return self._tail[number + 1] if number + 1 < len(self._tail) else None
        task = self._cache.get(sequence)
        if task is None or task.done():
            known = task.result() if task is not None and not task.cancelled() else None
            if known is not None:
                return known
            task = asyncio.create_task(asyncio.to_thread(self._read, sequence))
            self._cache[sequence] = task
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        # Shielded: the lane that asked first may be stopped while another waits for the same.
        found = await asyncio.shield(task)
        if found is None and self._tail and sequence < self._tail[0].first:
            return self._tail[0]
        return found

    async def more(self, sequence: int, deadline: float | None) -> bool:
        """Wait until there is a reading at or after `sequence`; False if `deadline` (loop time)
        comes first."""
        loop = asyncio.get_running_loop()
        while sequence >= self._head:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            timeout = None if deadline is None else max(deadline - loop.time(), 0)
            done, _ = await asyncio.wait([waiter], timeout=timeout)
            if not done:
                waiter.cancel()
                return False
        return True

    def _index(self, segment: Segment) -> None:
        if not segment.scanned:
            for _ in scan(segment):
                pass

    def _read(self, sequence: int) -> Block | None:
        """From the disk, in a thread. What is damaged is skipped."""
        segments = list(self.journal.segments)
        # The newest segment that begins at or before the sequence: after a failed fsync an older
        # one may hold the same block, which is not to be trusted.
        start = bisect_right(segments, sequence, key=lambda s: s.first) - 1
        for segment in segments[max(start, 0) :]:
            try:
                self._index(segment)
                found = self._find(segment, sequence)
            except OSError as error:
                log.error("journal: %s cannot be read: %s", segment.path.name, error)
                continue
            if found is not None:
                return found
        return None

    def _find(self, segment: Segment, sequence: int) -> Block | None:
        number = segment.find(sequence)
        while number is not None and number < len(segment.offsets):
            try:
                block = read_block(segment, number)
                if block.end > sequence:
                    return block
            except CorruptBlockError as error:
                log.error("journal: %s: block %d is skipped: %s", segment.path.name, number, error)
            number += 1
        return None

    # -- housekeeping -----------------------------------------------------------------------

    async def run(self) -> None:
        """Start the journal's writer; then retire old segments and forget removed cursors.

        Raises what the writer failed with: a gateway that stores nothing must not seem to run.
        """
        loop = asyncio.get_running_loop()
        failure: asyncio.Future[None] = loop.create_future()
        self.journal.run(loop, self._committed, failure.set_exception)
        self._running = True
        while True:
            self._forget()
            done, _ = await asyncio.wait([failure], timeout=_HOUSEKEEPING)
            if done:
                failure.result()
            while (segment := await asyncio.to_thread(self.journal.expired)) is not None:
                await self._retire(segment)

    def _forget(self) -> None:
        """Cursors of bridges that are no longer configured pin nothing and go after a week."""
        now = time.time_ns()
        for name, record in list(self._recovered.cursors.items()):
            if name in self.subscriptions:
                continue
            if not record.removed_at:
                record.removed_at = now
                self.journal.move(name, replace(record))
            elif now - record.removed_at > _FORGET:
                del self._recovered.cursors[name]
                self.journal.remove(name)

    async def _retire(self, segment: Segment) -> None:
        """Delete the oldest segment; what a subscription had not had of it is counted for it."""
        end = self.journal.segments[1].first
        for subscription in self.subscriptions.values():
            for lane in subscription.lanes:
                if lane.fetched >= end:
                    continue
                async with lane.lock:
                    dropped = 0
                    async for block in self.blocks(lane.fetched, follow=False):
                        if block.first >= end:
                            break
                        share = subscription.split(block)[lane.number]
                        dropped += sum(block.first + p >= lane.fetched for p in share.places)
                    lane.skip(end, dropped)
                log.error(
                    "journal: %d readings for %s are dropped: kept as long as max_age and "
                    "max_size allow",
                    dropped,
                    subscription.name,
                )
        try:
            await asyncio.to_thread(self.journal.retire, segment)
        except OSError as error:
            log.error("journal: %s cannot be deleted: %s", segment.path.name, error)
