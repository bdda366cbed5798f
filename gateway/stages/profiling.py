"""Profiling: how long each stage takes, how often, and which one takes most."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from gateway.core.contracts import Batch, Send

_BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
_KEPT = 512
_WINDOW = 60.0


@dataclass(slots=True)
class _Timings:
    """The last durations of one stage. recent: (end in monotonic s, seconds, records); histogram:
    all of them."""

    histogram: Histogram
    recent: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=_KEPT))


class Profiler:
    """Durations of stages by name, as histograms for Prometheus and as a summary of the last
    minute."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stages: dict[str, _Timings] = {}
        self._seconds = Histogram(
            "berrygate_stage_seconds",
            "Time one batch spends in a stage",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._commits = Histogram(
            "berrygate_journal_commit_seconds",
            "Time to write one journal block and make it durable",
            buckets=_BUCKETS,
            registry=registry,
        )

    def observe(self, stage: str, seconds: float, records: int = 1) -> None:
        """`records` went through `stage` together in `seconds`."""
        timings = self._stages.get(stage)
        if timings is None:
            timings = self._stages[stage] = _Timings(self._seconds.labels(stage))
        timings.recent.append((time.monotonic(), seconds, records))
        timings.histogram.observe(seconds)

    def committed(self, records: int, seconds: float) -> None:
        """A journal block of `records` readings was made durable in `seconds`."""
        self._commits.observe(seconds)
        if records:
            self.observe("journal", seconds, records)

    @contextmanager
    def measure(self, stage: str, records: int = 1) -> Iterator[None]:
        """Observe what runs inside, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.observe(stage, time.perf_counter() - started, records)

    def summary(self) -> dict[str, Any]:
        """Per stage: rate (records/s), p50, p95, p99 (s) and share of the time of all stages, over
        the last minute; and the stage with the largest share as `bottleneck`."""
        since = time.monotonic() - _WINDOW
        recent = {
            name: [entry for entry in timings.recent if entry[0] >= since]
            for name, timings in self._stages.items()
        }
        total = sum(seconds for entries in recent.values() for _, seconds, _ in entries)
        stages = {name: _figures(entries, total) for name, entries in recent.items() if entries}
        busiest = max(stages, key=lambda name: stages[name]["share"], default=None)
        return {"stages": stages, "bottleneck": busiest}


def _figures(entries: list[tuple[float, float, int]], total: float) -> dict[str, float]:
    seconds = sorted(entry[1] for entry in entries)
    span = max(time.monotonic() - entries[0][0], 1.0)

    def at(share: float) -> float:
        return seconds[min(int(share * len(seconds)), len(seconds) - 1)]

    return {
        "rate": sum(entry[2] for entry in entries) / span,
        "p50": at(0.50),
        "p95": at(0.95),
        "p99": at(0.99),
        "share": sum(seconds) / total if total else 0.0,
    }


class ProfilingStage:
    """Times a bridge's deliveries, retries and waiting included."""

    def __init__(self, profiler: Profiler, name: str) -> None:
        self._profiler = profiler
        self._name = name

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send, and observe how long that took."""
        with self._profiler.measure(self._name, len(batch)):
            await send(batch)
