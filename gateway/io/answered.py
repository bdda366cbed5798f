"""Frames whose senders wait for an answer: on their way to the pump, and the outcome back.

All that gathered since the pump last looked are one burst, so that what is new in them (a device's
id) is written to the disk once for all.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from gateway.core.contracts import Burst, Busy, Outcome, Rejected, Stored

AFTER = 5.0
"""When one that was sent away may come again (s)."""


@dataclass(slots=True, eq=False)
class _Frame:
    topic: str
    payload: bytes
    answer: asyncio.Future[Stored | Rejected | Busy]
    late: bool = False  # its sender was told that it could not be stored


class Answered:
    """patience: how long a sender waits at most (s). most: bytes of all that wait. dropped: where
    frames that never came to the pump are counted, by reason. closed: nothing more is taken."""

    def __init__(self, patience: float, most: int, dropped: Counter[str]) -> None:
        self.dropped = dropped
        self.closed = False
        self._patience = patience
        self._most = most
        self._waiting: deque[_Frame] = deque()
        self._bytes = 0
        self._out = 0  # frames at the pump
        self._late = 0  # of those, whose senders were sent away meanwhile
        self._ready = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def pending(self) -> int:
        """Frames whose senders wait."""
        return len(self._waiting) + self._out - self._late

    async def ask(self, topic: str, payload: bytes) -> Stored | Rejected | Busy:
        """What became of a frame, told once that is on the disk. Busy: nobody knows; it may be
        stored yet."""
        # While one has been waiting for too long the disk refuses, and the next would wait as long.
        if self.closed or self._late or self._bytes + len(payload) > self._most:
            self.dropped["busy"] += 1
            return Busy(AFTER)
        frame = _Frame(topic, payload, asyncio.get_running_loop().create_future())
        self._waiting.append(frame)
        self._bytes += len(payload)
        self._ready.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                return await frame.answer
        if frame in self._waiting:
            self._waiting.remove(frame)
            self._bytes -= len(payload)
            self.dropped["busy"] += 1
        else:
            frame.late = True
            self._late += 1
        return Busy(AFTER)

    async def take(self) -> Burst:
        """All that came since; waits for the first. Raises what `fail` was given."""
        while True:
            if self._failure is not None:
                raise self._failure
            if self._waiting:
                break
            self._ready.clear()
            await self._ready.wait()
        frames, self._waiting = list(self._waiting), deque()
        self._out += len(frames)
        return Burst(
            time.time_ns(),
            [frame.topic for frame in frames],
            [frame.payload for frame in frames],
            on_done=lambda outcome: self._done(frames, outcome),
            patient=False,
        )

    def fail(self, error: BaseException) -> None:
        """Have `take` raise this."""
        self._failure = error
        self._ready.set()

    def _done(self, frames: Sequence[_Frame], outcome: Outcome) -> None:
        for place, frame in enumerate(frames):
            self._bytes -= len(frame.payload)
            self._out -= 1
            self._late -= frame.late
            if not frame.answer.done():
                frame.answer.set_result(_of(outcome, place))


def _of(outcome: Outcome, place: int) -> Stored | Rejected | Busy:
    return outcome.rejected.get(place, outcome) if isinstance(outcome, Stored) else outcome
