"""Live subscriptions: from now on, before the commit, bounded; the oldest goes and is counted."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from gateway.core.contracts import Reading
from gateway.core.events import Event

_MOST = 200_000
"""Values that wait for one subscriber; a burst can be of thousands of readings."""

Item = Sequence[Reading] | Event


class LiveSubscription:
    """What happens from now on: lists of readings as decoded, and events.

    dropped: items that were thrown away because they were not taken in time. wants: for what it
    wants to be woken at all.
    """

    def __init__(self, limit: int, wants: Callable[[Item], bool] = lambda item: True) -> None:
        self.dropped = 0
        self.wants = wants
        self._limit = limit
        self._items: deque[Item] = deque()
        self._values = 0
        self._ready = asyncio.Event()

    def put(self, item: Item) -> None:
        """Add an item; the oldest goes when there is no room."""
        self._items.append(item)
        self._values += _values(item)
        while len(self._items) > self._limit or (self._values > _MOST and len(self._items) > 1):
            self._values -= _values(self._items.popleft())
            self.dropped += 1
        self._ready.set()

    @property
    def waiting(self) -> int:
        """Items that were not taken yet."""
        return len(self._items)

    async def items(self) -> AsyncIterator[Item]:
        """Items, as they come, without end."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._items:
                item = self._items.popleft()
                self._values -= _values(item)
                yield item


def _values(item: Item) -> int:
    """About how many values it holds: the readings of a burst are much alike."""
    return 1 if isinstance(item, Event) or not item else len(item) * len(item[0].values)
