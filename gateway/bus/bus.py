"""The durable message bus: publish, subscribe (durable or live), acknowledge.

A small contract on purpose: correctness comes from the order of writes, never from a transaction
shared by two objects, so that another log (NATS JetStream) can stand behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from gateway.bus.block import Block
from gateway.bus.gather import Entry
from gateway.bus.journal import Journal
from gateway.bus.keeper import Keeper
from gateway.bus.live import Item, LiveSubscription
from gateway.bus.read_back import ReadBack
from gateway.bus.reader import reaches, stored_since
from gateway.bus.records import CursorRecord, RepeatKeys, Stretch
from gateway.bus.recovery import Recovered
from gateway.bus.subscription import Source, Subscription
from gateway.bus.tail import Tail
from gateway.core.settings import parse_duration

_PAUSE = 1.0  # between looks while the journal is in trouble (s)
HOUSEKEEPING = 5.0


class Bus:
    """See the module. `publish` and everything else is called on the event loop."""

    def __init__(self, journal: Journal, recovered: Recovered) -> None:
        self.journal = journal
        self.subscriptions: dict[str, Subscription] = {}
        self.commit_observers: list[Callable[[int, float], None]] = []
        # Called with a sequence before what lies before it is deleted; whoever has only read it
        # stores it now, or never.
        self.retiring: list[Callable[[int], Awaitable[None]]] = []
        self._recovered = recovered
        self._tail = Tail()
        self._back = ReadBack(journal)
        self._waiters: list[asyncio.Future[None]] = []
        self._room: list[asyncio.Future[None]] = []
        self._live: list[LiveSubscription] = []
        self._resolved = journal.times.resolved
        self._head = journal.next
        self._running = False
        self.keeper = Keeper(self, recovered.cursors)
        self._source = Source(self.block, self.more, lambda: self._head, journal.move)

    @property
    def head(self) -> int:
        """The sequence after the last committed reading."""
        return self._head

    @property
    def recent(self) -> int:
        """From this sequence on, blocks are still in memory."""
        start = self._tail.start
        return self._head if start is None else start

    def recent_from(self, sequence: int) -> list[Block]:
        """The blocks in memory from the one that begins with `sequence` on; none where none does.
        Their times may still have to be put right."""
        return self._tail.since(sequence)

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
            self._tail.add(block, sum(entry.size for entry in entries))
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
            if subscription.wants(item):
                subscription.put(item)

    @contextmanager
    def live(
        self, limit: int = 1_000, wants: Callable[[Item], bool] = lambda item: True
    ) -> Iterator[LiveSubscription]:
        """A live subscription for as long as the context lasts; `limit`: items it may hold;
        `wants`: what it is woken for."""
        subscription = LiveSubscription(limit, wants)
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
            position = await self.position_of(start)
            record = CursorRecord([position], filter=" ".join(patterns))
        subscription = Subscription(name, patterns, lanes, record, self._source)
        self.subscriptions[name] = subscription  # `publish` counts for it from here on
        # What `matched` counted is void if it was for another filter or not at all.
        subscription.counted = not (
            (new and subscription.position < self._head)
            or record.removed_at
            or record.filter != subscription.filter
        )
        self.journal.move(name, subscription.record())
        if not subscription.counted:
            await self._recount(subscription)
        return subscription

    def unsubscribe(self, name: str) -> None:
        """Nobody takes this subscription's readings any more; where it stood is kept for a week,
        for whoever subscribes under its name again."""
        record = self.subscriptions.pop(name).record()
        record.removed_at = self.journal.now()
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
        difference = (
            ledger.fetched
            + await self.count(
                subscription, subscription.fetched, until, subscription.backlog.unread()
            )
            - counted
        )
        ledger.matched += difference
        self.journal.recount(subscription.name, difference)
        subscription.counted = True
        subscription.moved()

    async def count(
        self,
        subscription: Subscription,
        places: Sequence[int],
        until: int,
        aside: Sequence[Stretch] = (),
    ) -> int:
        """How many readings the subscription's lanes have from these places on, before `until`, and
        how many these stretches hold."""
        count = 0
        begin = min([*places, *(each.begin for each in aside)])
        async for block in self.blocks(begin, follow=False):
            if block.first >= until:
                break
            for own, share in zip(places, subscription.split(block), strict=True):
                count += sum(own <= block.first + p < until for p in share.places)
            count += len(subscription.places(block, aside))
        return count

    async def position_of(self, start: str) -> int:
        """Where in the journal `start` is: now, earliest or a time ago such as -7d."""
        return await asyncio.to_thread(self._position, start)

    async def settle(self) -> None:
        """Wait until every cursor moved so far is durable."""
        durable = asyncio.get_running_loop().create_future()
        self.publish(Entry((), gather=0.0, done=lambda: durable.set_result(None)))
        await asyncio.shield(durable)

    async def reaches(self) -> int:
        """When the oldest block that is kept was written (ns); 0 where there is none."""
        return await asyncio.to_thread(reaches, self.journal)

    def _position(self, start: str) -> int:
        if start == "now":
            return self._head
        if start == "earliest":
            return self.journal.start
        since = self.journal.now() - int(parse_duration(start.removeprefix("-")) * 1e9)
        return stored_since(self.journal, since)

    # -- reading ----------------------------------------------------------------------------

    async def blocks(self, position: int, *, follow: bool = True) -> AsyncIterator[Block]:
        """Every block from the one that holds `position` on; with `follow`, without end."""
        while True:
            head = self._head
            block = await self.block(position)
            if block is not None:
                yield block
                position = block.end
            elif not follow:
                return
            else:
                position = max(position, head)  # what lay up to there is lost
                await self.more(position, None)

    async def block(self, sequence: int) -> Block | None:
        """The block that holds `sequence`, or the next one there is; None if there is none up to
        the head, because that is reached or because what lay before it is lost."""
        found = await self._block(sequence) if sequence < self._head else None
        if sequence < self._head and (found is None or found.first > sequence):
            self.keeper.gap(sequence, found.first if found else self._head)
        return found

    async def _block(self, sequence: int) -> Block | None:
        start = self._tail.start
        if start is not None and sequence >= start:
            return self._tail.find(sequence, self._resolved)
        found = await self._back.read(sequence)
        start = self._tail.start
        if found is None and start is not None and sequence < start:
            found = self._tail.first()
        return None if found is None else self._resolved(found)

    async def more(self, sequence: int, deadline: float | None) -> bool:
        """Wait until there is a reading at or after `sequence`; False if `deadline` (loop time)
        comes first."""
        loop = asyncio.get_running_loop()
        while sequence >= self._head:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                return False
            finally:
                if waiter in self._waiters:  # whoever gave up would be remembered until a commit
                    self._waiters.remove(waiter)
        return True

    # -- housekeeping -----------------------------------------------------------------------

    async def run(self) -> None:
        """Start the journal's writer; then keep house.

        Raises what the writer failed with: a gateway that stores nothing must not seem to run.
        """
        loop = asyncio.get_running_loop()
        failure: asyncio.Future[None] = loop.create_future()
        self.journal.run(loop, self._committed, failure.set_exception)
        self._running = True
        while not failure.done():
            await self.keeper.look()
            called = asyncio.ensure_future(self.keeper.called())
            try:
                pause = min(HOUSEKEEPING, _PAUSE) if self.journal.trouble else HOUSEKEEPING
                await asyncio.wait(
                    [failure, called], timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                called.cancel()
        failure.result()
