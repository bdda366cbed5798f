"""Fresh first: what has become old while a bridge did not get through makes way for what is new.

A stage of one lane, inside of retry, so that it looks before each attempt. What makes way is read
again later, beside the lanes, by the backlog of the subscription; a device's readings are not in
order then, which is why a bridge must ask for it.
"""

from collections.abc import Callable
from typing import Protocol

from gateway.core.contracts import Batch, Send


class SetAside(Exception):
    """The batch is not to be sent now: its lane has left it for later."""


class Reader(Protocol):
    """Who has taken a batch. batch: that one."""

    batch: Batch | None

    async def set_aside(self) -> bool:
        """Leave it for later; False where it must be sent now."""
        ...


class FreshFirst:
    """See the module. old: whether what the reader has in hand should make way."""

    def __init__(self, reader: Reader, old: Callable[[], bool]) -> None:
        self._reader = reader
        self._old = old

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send. Raises SetAside where the batch has made way."""
        # Of a batch that retry has halved, a part may have been taken.
        if batch is self._reader.batch and self._old() and await self._reader.set_aside():
            raise SetAside
        await send(batch)
