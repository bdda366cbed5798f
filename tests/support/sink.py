"""A sink in this process that does what a test tells it to, and remembers what it took."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import BerrygateError, Rejected


class Sink:
    """A bridge. fails: raised by each send while set. refuses: readings it never takes; named: it
    says which. slow: seconds that a send of a device's readings takes. thinks: seconds until it
    says that it has what it took."""

    name = "sink"

    def __init__(self) -> None:
        self.taken: list[Reading] = []
        self.requests = 0
        self.fails: BerrygateError | None = None
        self.refuses: Callable[[Reading], bool] = lambda reading: False
        self.named = True
        self.slow: dict[str, float] = {}
        self.thinks = 0.0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[None]:
        yield None

    async def send(self, conn: None, batch: Batch) -> None:
        self.requests += 1
        devices = {reading.device for reading in batch.readings}
        await asyncio.sleep(max([self.slow.get(device, 0.0) for device in devices], default=0.0))
        if self.fails:
            raise self.fails
        bad = [index for index, reading in enumerate(batch.readings) if self.refuses(reading)]
        if bad and not self.named:
            raise Rejected("refused")
        self.taken += [r for index, r in enumerate(batch.readings) if index not in bad]
        await asyncio.sleep(self.thinks)
        if bad:
            raise Rejected("refused", indices=bad)

    def numbers(self, flags: int = 0) -> list[int]:
        """The numbers of what it took with these flags, in the order they came."""
        return [int(reading.values["n"]) for reading in self.taken if reading.flags == flags]
