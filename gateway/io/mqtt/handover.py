"""Bursts on their way from a network thread to the event loop.

The loop is woken once for all that gathered since it last looked, and what waits is bounded.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from gateway.core.contracts import Burst

_FRAMES = 20_000
_BYTES = 16_000_000
_HOLD = 1.0  # s


class Handover:
    """See the module. Messages that the broker keeps until they are acknowledged are bounded by
    the session's window; whoever puts looks at `full` before it puts others."""

    def __init__(self, frames: int = _FRAMES, size: int = _BYTES) -> None:
        self._most_frames = frames
        self._most_bytes = size
        self._lock = threading.Lock()
        self._bursts: list[Burst] = []
        self._frames = 0
        self._bytes = 0
        self._ready = asyncio.Event()
        self._room = threading.Event()
        self._room.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake this loop."""
        self._loop = loop

    @property
    def full(self) -> bool:
        """Whether the loop is too far behind to be given what need not be kept."""
        return self._frames >= self._most_frames or self._bytes >= self._most_bytes

    def put(self, burst: Burst) -> None:
        """Hand a burst over; from any thread."""
        with self._lock:
            first = not self._bursts
            self._bursts.append(burst)
            self._frames += len(burst)
            self._bytes += sum(map(len, burst.payloads))
            if self._bytes >= self._most_bytes:
                self._room.clear()
        if first:
            self.call(self._ready.set)

    async def take(self) -> list[Burst]:
        """All that was handed over since; waits for the first."""
        await self._ready.wait()
        self._ready.clear()
        with self._lock:
            bursts, self._bursts = self._bursts, []
            self._frames = self._bytes = 0
            self._room.set()
        return bursts

    def hold(self) -> None:
        """Wait in the network thread while too many bytes are untaken, for a second at most: then
        its socket fills, and the broker waits. A session's window counts messages; 4,000 of the
        largest are a gigabyte."""
        self._room.wait(_HOLD)

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the loop call something; nothing if it has ended."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)
