"""Buffers of history that wait to be stored together.

A transaction writes some ten pages of 4 KiB beside its chunks, and each again at a checkpoint:
alone a chunk would wear a card several times as much as with others. What waits is in the journal
and is answered from memory, so that waiting costs nothing but memory.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from gateway.store.buffers import Buffer, Stream

LONGEST = 60.0
"""How long a full buffer waits for others (s)."""
Sealed = tuple[Stream, Buffer]


class Batch:
    """What becomes one transaction. size: bytes that wait in it, to be bounded by `most`."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self.buffers: list[Sealed] = []
        self._most = most
        self._due = asyncio.Event()

    def add(self, sealed: Sequence[Sealed]) -> None:
        """More to be stored."""
        self.buffers += sealed
        self.size += sum(buffer.size for _, buffer in sealed)
        if self.size > self._most:
            self._due.set()

    @property
    def hurried(self) -> bool:
        """Whether it waits for nothing but the disk."""
        return self._due.is_set()

    def hurry(self) -> None:
        """Nothing of it waits any longer."""
        self._due.set()

    async def due(self) -> None:
        """Wait until it is to be stored."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                await self._due.wait()
