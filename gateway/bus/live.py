"""Live subscriptions: from now on, before the commit, bounded; the oldest goes and is counted."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from gateway.core.contracts import Reading
from gateway.core.events import Event

Item = Sequence[Reading] | Event


class LiveSubscription:
    """What happens from now on: lists of readings as decoded, and events.

    dropped: items that were thrown away because they were not taken in time.
    """

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._items: deque[Item] = deque(maxlen=limit)
        self._ready = asyncio.Event()

    def put(self, item: Item) -> None:
        """Add an item; the oldest goes when there is no room."""
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(item)
        self._ready.set()

    async def items(self) -> AsyncIterator[Item]:
        """Items, as they come, without end."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._items:
                yield self._items.popleft()
