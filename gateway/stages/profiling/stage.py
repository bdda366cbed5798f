"""The profiling stage of a bridge: the outermost link of its chain."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.contracts import Batch, Send
from gateway.stages.profiling.profiler import Profiler

_REST = 0.1  # between two full batches a lane rests for at most so long (s)


@dataclass(slots=True)
class _Lane:
    """busy: seconds at work, so far as it is over. began: since when it is at a batch, else 0.0.
    full: when its last batch ended, if that was full: then it was not waiting for readings."""

    busy: float = 0.0
    began: float = 0.0
    full: float = 0.0


class ProfilingStage:
    """Times a bridge's deliveries, retries and waiting included, and how busy each lane is.

    size: readings in a batch that is full. writes: batches that came through.
    """

    def __init__(self, profiler: Profiler, name: str, size: int = 0) -> None:
        self.name = name
        self.writes = 0
        self._profiler = profiler
        self._size = size
        self._lanes: dict[str, _Lane] = {}

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send, and observe how long that took."""
        task = asyncio.current_task()
        name = task.get_name() if task else ""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        lane.began = began = time.monotonic()
        if lane.full:
            lane.busy += min(began - lane.full, _REST)
        try:
            await send(batch)
        finally:
            now = time.monotonic()
            lane.busy += now - began
            lane.began = 0.0
            lane.full = now if self._size and len(batch) >= self._size else 0.0
            self.writes += 1
            self._profiler.observe(self.name, now - began, len(batch))

    def busy(self) -> Mapping[str, float]:
        """Seconds that each lane has been at work, what it is at now included."""
        now = time.monotonic()
        return {
            name: lane.busy + (now - lane.began if lane.began else 0.0)
            for name, lane in self._lanes.items()
        }

    def longest(self) -> float:
        """How long (s) the batch that is longest on its way has been so; 0.0 if none is."""
        now = time.monotonic()
        return max((now - lane.began for lane in self._lanes.values() if lane.began), default=0.0)
