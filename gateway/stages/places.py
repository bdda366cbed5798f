"""Places: how many may use something at a time; whoever waits is served in the order of asking."""

import asyncio

from gateway.core.errors import Unavailable


class Exhausted(Unavailable):
    """All connections were in use for too long. That is no endpoint's fault."""


class Places:
    """`count` places; waiting for one takes at most `limit` seconds.

    taken: places in use. waiting: callers that wait for one. timeouts: callers that gave up. most:
    the highest number in use at a time since somebody last set it.
    """

    def __init__(self, count: int, limit: float) -> None:
        self.taken = 0
        self.waiting = 0
        self.timeouts = 0
        self.most = 0
        self._count = count
        self._limit = limit
        self._free = asyncio.Semaphore(count)

    @property
    def full(self) -> bool:
        """Whether every place is taken or waited for."""
        return self._free.locked()

    async def enter(self) -> None:
        """Take a place. Raises Exhausted."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self.taken += 1
        if self.taken > self.most:
            self.most = self.taken

    def leave(self) -> None:
        """Give a place back."""
        self.taken -= 1
        self._free.release()

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limit):
                await self._free.acquire()
        except TimeoutError as error:
            self.timeouts += 1
            raise Exhausted(
                f"no connection became free within {self._limit:g} s: all {self._count} are in use",
                fix="raise pool.max, or see why the other side is slow",
            ) from error
        finally:
            self.waiting -= 1
