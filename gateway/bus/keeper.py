"""Housekeeping of the bus: what goes, what is lost, and that both are counted."""

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.bus.forecast import Forecast
from gateway.bus.gather import Entry
from gateway.bus.records import CursorRecord
from gateway.bus.segment import Segment
from gateway.bus.subscription import Subscription
from gateway.core.events import DropsSoon
from gateway.core.words import about

if TYPE_CHECKING:
    from gateway.bus.bus import Bus

log = logging.getLogger(__name__)

_PATIENCE = 2.0  # how long a segment that is to go waits for what counts its readings (s)
_FORGET = 7 * 86_400 * 10**9  # a removed subscription's cursor is kept so long (ns)


class Keeper:
    """See the module. Made by the bus; called by it every few seconds, on the event loop."""

    def __init__(self, bus: "Bus", cursors: dict[str, CursorRecord]) -> None:
        self._bus = bus
        self._cursors = cursors
        self._call = asyncio.Event()
        self._looking = asyncio.Lock()
        self._forecast = Forecast(bus.journal)
        self._gaps: set[int] = set()
        # What was damaged while nobody ran may be missing from what the cursors count.
        self._suspect = bool(bus.journal.damage)
        self._damaged = False  # whether a gap lay behind the oldest reading that is kept

    async def look(self) -> None:
        """Do what is due."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        self._call.clear()
        self._forget()
        journal = self._bus.journal
        if self._suspect:
            self._suspect = False
            for subscription in list(self._bus.subscriptions.values()):
                await self._reconcile(subscription)
        await asyncio.to_thread(self._forecast.look)
        for subscription in list(self._bus.subscriptions.values()):
            await self._warn(subscription)
        while (segment := await asyncio.to_thread(journal.expired)) is not None:
            if not await self._retire(segment):
                break

    async def called(self) -> None:
        """Wait until a look is due at once."""
        await self._call.wait()

    def gap(self, begin: int, end: int) -> None:
        """A reader met a stretch without readings, from sequence `begin` up to `end`."""
        if end not in self._gaps:
            self._gaps.add(end)
            self._damaged = self._damaged or begin >= self._bus.journal.start
            self._suspect = True
            self._call.set()

    def _forget(self) -> None:
        """Cursors of bridges that are no longer configured pin nothing and go after a week."""
        journal = self._bus.journal
        for name, record in list(self._cursors.items()):
            if name in self._bus.subscriptions:
                continue
            if not record.removed_at:
                record.removed_at = journal.now()
                journal.move(name, replace(record))
            elif journal.now_at_least() - record.removed_at > _FORGET:
                del self._cursors[name]
                journal.remove(name)

    async def _warn(self, subscription: Subscription) -> None:
        """Say once, before it happens, that readings will be dropped for a subscription."""
        subscription.drops_in, near = await asyncio.to_thread(self._forecast.of, subscription)
        if near and not subscription.endangered:
            text = "soon" if subscription.drops_in is None else about(subscription.drops_in)
            log.warning(
                "journal: readings for %s will be dropped %s unless it gets through: they "
                "reach what max_age and max_size allow", subscription.name, text,
            )  # fmt: skip
            left = subscription.drops_in
            self._bus.emit(DropsSoon(kind="bridge", name=subscription.name, seconds=left))
        subscription.endangered = near

    async def _reconcile(self, subscription: Subscription) -> None:
        """Readings are gone uncounted: those that the subscription would have had are dropped.

        What it counted as they entered the journal, against what can still be read: that tells
        the number whatever its filter and its lanes, and telling it twice changes nothing. They
        went by damage, or with a segment that was deleted just before a crash, or that held what
        was then in flight.
        """
        journal = self._bus.journal
        ledger = subscription.ledger
        locks = [*(lane.lock for lane in subscription.lanes), subscription.backlog.lock]
        for lock in locks:
            await lock.acquire()
        head, expected = self._bus.head, ledger.matched - ledger.fetched
        places, aside = subscription.fetched, subscription.backlog.unread()
        for lock in locks:
            lock.release()
        lost = expected - await self._bus.count(subscription, places, head, aside)
        if lost < 0:
            # What counted them was lost, and they were not.
            ledger.matched -= lost
            journal.recount(subscription.name, -lost)
        elif lost:
            reason = "damaged" if journal.damage or self._damaged else "retention"
            ledger.dropped[reason] += lost
            ledger.fetched += lost
            log.error("journal: %d readings for %s are lost: %s", lost, subscription.name, reason)
        if lost:
            subscription.moved()

    async def _retire(self, segment: Segment) -> bool:
        """Delete the oldest segment; what a subscription had not had of it is counted for it.
        False if it cannot be deleted."""
        journal = self._bus.journal
        end = journal.segments[1].first
        if not journal.trouble:  # else deleting comes first: there is no room to store anything
            for secure in self._bus.retiring:
                await secure(end)
        skipped = False
        for subscription in list(self._bus.subscriptions.values()):
            dropped = 0
            for lane in subscription.lanes:
                async with lane.lock:
                    lane.retiring(end)
                    if lane.fetched < end:
                        places = [end] * len(subscription.lanes)
                        places[lane.number] = lane.fetched
                        count = await self._bus.count(subscription, places, end)
                        lane.skip(end, count)
                        skipped = True
                        dropped += count
            # Behind the lanes: what they set aside from here on lies behind `end`.
            dropped += (count := await self._skip_aside(subscription, end))
            skipped = skipped or count > 0
            if dropped:
                log.error(
                    "journal: %d readings for %s are dropped: kept as long as max_age and "
                    "max_size allow",
                    dropped,
                    subscription.name,
                )
        if skipped and not journal.trouble:
            await self._counted()
        try:
            await asyncio.to_thread(journal.retire, segment)
        except OSError as error:
            log.error("journal: %s cannot be deleted: %s", segment.path.name, error)
            return False
        return True

    async def _skip_aside(self, subscription: Subscription, end: int) -> int:
        """The same of what lanes have set aside; how many readings that costs."""
        backlog = subscription.backlog
        if not backlog:
            return 0
        async with backlog.lock:
            places, aside = [end] * len(subscription.lanes), backlog.unread_before(end)
            count = await self._bus.count(subscription, places, end, aside)
            backlog.skip(end, count)
        return count

    async def _counted(self) -> None:
        """Wait until the moved cursors are durable: what is deleted before it was counted is
        counted as lost after a crash. On a disk that refuses, deleting comes first."""
        told = asyncio.Event()
        self._bus.journal.append(Entry([], gather=0.0, done=told.set))
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await told.wait()
