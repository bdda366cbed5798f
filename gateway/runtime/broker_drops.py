"""What the broker itself threw away, by its own count.

A full queue of a client that is away, or that is too slow, loses messages that nobody else ever
saw; they are in no source's ledger, so they have a line of their own.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from gateway.core.events import Event, Failed

log = logging.getLogger(__name__)

TOPIC = "$SYS/broker/publish/messages/dropped"
"""mosquitto(8): messages dropped due to limits, of all clients, since the broker started."""
RECENT = 600.0
"""How long what was thrown away counts against health (s)."""


class BrokerDrops:
    """total: messages thrown away while we were there; None until the broker has said. known: a
    broker that we started counts from 0, of another the first number is none of our time."""

    def __init__(self, emit: Callable[[Event], None], known: bool) -> None:
        self.total: int | None = None
        self._emit = emit
        self._last = 0 if known else None
        self._loop = asyncio.get_running_loop()
        self._grown: deque[tuple[float, int]] = deque()

    @property
    def recent(self) -> int:
        """How many of them were thrown away lately."""
        while self._grown and time.monotonic() - self._grown[0][0] > RECENT:
            self._grown.popleft()
        return sum(count for _, count in self._grown)

    def heard(self, payload: bytes) -> None:
        """The broker tells its count; from any thread."""
        if payload.isdigit() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, int(payload))

    def _take(self, count: int) -> None:
        last = count if self._last is None else self._last
        grown = count - last if count >= last else count  # it was started again, from 0
        self._last = count
        self.total = (self.total or 0) + grown
        if not grown:
            return
        self._grown.append((time.monotonic(), grown))
        reason = f"the broker threw {grown} message(s) away: a client's queue is full"
        log.error("broker: %s", reason)
        self._emit(Failed(kind="broker", name="broker", error="dropped", reason=reason))
