"""Durations of stages by name, kept as sketches, and told as a summary and to Prometheus."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from gateway.core import profiling
from gateway.core.profiling import F
from gateway.core.profiling_settings import ProfilingSettings
from gateway.stages.profiling.bottleneck import Limit
from gateway.stages.profiling.levels import heading, level
from gateway.stages.profiling.loop import LoopWatch
from gateway.stages.profiling.windows import MINUTE, SHORT, WINDOWS, Figures, Windows

_BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
_MOST = 200
"""Most names; what a driver times beyond that is counted together."""
_OTHER = "other"
RECEIVE = "receive"
"""How long what came waited until the gateway got round to it: waiting, so it has no share."""


class _Stage:
    """A stage by name: its windows, and the same in Prometheus' buckets."""

    __slots__ = ("histogram", "windows")

    def __init__(self, histogram: Histogram) -> None:
        self.windows = Windows()
        self.histogram = histogram


class Profiler:
    """See the module. limits: what limits at the moment, the worst first. queues: what waits for
    each stage; servers: how many of a stage work side by side, where it is not one. loop: what is
    seen of the event loop."""

    def __init__(
        self, registry: CollectorRegistry, settings: ProfilingSettings | None = None
    ) -> None:
        self.settings = settings or ProfilingSettings()
        self.limits: Sequence[Limit] = ()
        self.queues: Mapping[str, int] = {}
        self.servers: Mapping[str, int] = {}
        self.loop: LoopWatch | None = None
        self._adding = threading.Lock()
        self._stages: dict[str, _Stage] = {}
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

    def adjust(self, settings: ProfilingSettings) -> None:
        """Go by other settings from now on; the event loop is watched or not since the start."""
        self.settings = settings
        if self.loop is not None:
            self.loop.slow = settings.slow_callback

    # -- taking -----------------------------------------------------------------------------

    def observe(self, stage: str, seconds: float, records: int = 1) -> None:
        """`records` went through `stage` together in `seconds`. From any thread."""
        if not self.settings.enabled:
            return
        known = self._stages.get(stage) or self._add(stage)
        known.windows.add(seconds, records)
        known.histogram.observe(seconds)

    def _add(self, stage: str) -> _Stage:
        with self._adding:
            name = stage if len(self._stages) < _MOST else _OTHER
            if name not in self._stages:
                self._stages[name] = _Stage(self._seconds.labels(name))
            return self._stages[name]

    def committed(self, records: int, seconds: float) -> None:
        """A journal block of `records` readings was made durable in `seconds`."""
        self._commits.observe(seconds)
        if records:
            self.observe("journal", seconds, records)

    def measure(self, stage: str, records: int = 1) -> profiling.measure:
        """A context, also around `await`: what runs inside is observed, also when it raises."""
        return profiling.measure(stage, records, self.observe)

    def profiled(self, stage: str) -> Callable[[F], F]:
        """A decorator: observes each call, of an async function until it is done."""
        return profiling.profiled(stage, self.observe)

    def forget(self, stage: str) -> None:
        """A stage is no more."""
        if self._stages.pop(stage, None) is not None:
            self._seconds.remove(stage)

    def busy(self, stage: str) -> float:
        """Seconds that a stage has spent since the start."""
        known = self._stages.get(stage)
        return known.windows.busy if known else 0.0

    # -- telling ----------------------------------------------------------------------------

    def summary(self, window: str = "1m") -> dict[str, Any]:
        """Per stage its figures over `window` (1m, 15m or 1h); what limits; the event loop.

        bottleneck: the stage that limits; where none does, the one that takes most of the time.
        why: the reason, for people. Raises ValueError for another window.
        """
        if window not in WINDOWS:
            raise ValueError(f'"{window}" is no window; {", ".join(WINDOWS)} are')
        found = {
            name: figures
            for name, stage in list(self._stages.items())
            if (figures := stage.windows.last(WINDOWS[window])) is not None
        }
        whole = sum(figures.total for name, figures in found.items() if name != RECEIVE)
        limiting = {limit.stage for limit in self.limits}
        stages = {
            name: self._as_dict(name, figures, whole, name in limiting)
            for name, figures in found.items()
        }
        busiest = max(stages, key=lambda name: stages[name]["share"], default=None)
        first = self.limits[0] if self.limits else None
        why = f"takes {stages[busiest]['share']:.0%} of the time; nothing limits" if busiest else ""
        return {
            "window": window,
            "stages": stages,
            "bottleneck": first.stage if first else busiest,
            "why": first.text if first else why,
            "limits": [limit.as_dict() for limit in self.limits],
            "loop": self.loop.as_dict() if self.loop is not None else None,
        }

    def _as_dict(self, name: str, figures: Figures, whole: float, limiting: bool) -> dict[str, Any]:
        servers = self.servers.get(name, 1)
        stage = level(figures, self.settings.limits.get(name), limiting=limiting, servers=servers)
        own = 0.0 if name == RECEIVE or not whole else figures.total / whole
        return {
            "records": self._stages[name].windows.records,
            "rate": figures.rate,
            "p50": figures.p50,
            "p95": figures.p95,
            "p99": figures.p99,
            "p999": figures.p999,
            "max": figures.longest,
            "share": own,
            "utilisation": min(figures.load / servers, 1.0) if name != RECEIVE else None,
            "queue": self.queues.get(name),
            "level": stage.value,
            "trend": self.trend(name),
        }

    def trend(self, stage: str) -> str:
        """Where the mean duration of a stage's work is heading: rising, falling or steady."""
        known = self._stages.get(stage)
        if known is None:
            return "steady"
        recent = known.windows.recent()
        return heading([(n * SHORT, s.total / s.count) for n, s in enumerate(recent) if s.count])

    def snapshot(self) -> Mapping[str, Figures]:
        """The last minute's figures of every stage that was at work."""
        stages = [(name, stage.windows.last(MINUTE)) for name, stage in list(self._stages.items())]
        return {name: figures for name, figures in stages if figures is not None}
