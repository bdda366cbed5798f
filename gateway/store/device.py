"""One device as the registry knows it: who it is, when it was heard, what it said last."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.contracts import Value
from gateway.store.rhythm import SHORT, SPARE, WATCHED, Rhythm

_NEVER = -1e9  # long before this machine was started (s, monotonic)


@dataclass(slots=True)
class Device:
    """One device. original: its name before it became an id. Times in ns; last_seen 0: never.

    last: the last value of each of its metrics, from readings or, before the first of them, from
    retained messages. count: readings since this start, the first of them at `began`, the last at
    `heard` (s, time.monotonic). varies: whether its readings have different metrics.
    rhythm: its pauses, once it made one, in earlier runs too. refused: messages over its rate,
    since then; left_out: messages that were dropped because it is ignored. latency: how long (s)
    its readings take to us, by its own clock and lately; None where it tells no times. told: its
    model and the like, by its driver.
    """

    id: str
    original: str
    source: str
    first_seen: int
    last_seen: int = 0
    readings: int = 0
    last: dict[str, Value] = field(default_factory=dict)
    last_time: int = 0
    metrics: frozenset[str] = frozenset()
    shapes: frozenset[tuple[str, ...]] = frozenset()
    varies: bool = False
    began: float = 0.0
    heard: float = _NEVER
    count: int = 0
    refused: int = 0
    left_out: int = 0
    rhythm: Rhythm | None = None
    latency: float | None = None
    told: Mapping[str, Any] | None = None

    @property
    def interval(self) -> float:
        """Its usual time between readings (s), as seen since this start; 0 while unknown."""
        if self.count < 3:
            return 0.0
        return (self.heard - self.began) / (self.count - 1)

    def silent_after(self, missed: float, unknown: float) -> float:
        """After how long without a message it is silent (s): see gateway.store.rhythm; `unknown`
        while its rhythm is not known."""
        short = missed * min(self.interval, SHORT)
        if self.rhythm is None:
            return short if self.heard - self.began >= WATCHED else unknown
        limit = self.rhythm.limit(self.heard, missed)
        if limit is None:  # what was met once is all there is to go by
            return max(unknown, SPARE * self.rhythm.longest)
        return max(limit, short)

    @property
    def silent(self) -> float | None:
        """How long it has said nothing (s); None: it never did. By a clock that is never set as
        soon as it can be: a jump would make every device silent at once."""
        if self.count:
            return time.monotonic() - self.heard
        return max((time.time_ns() - self.last_seen) / 1e9, 0.0) if self.last_seen else None

    def as_dict(self) -> dict[str, Any]:
        """For the API; times in epoch ms."""
        return {
            "id": self.id,
            "original": self.original,
            "source": self.source,
            "first_seen": self.first_seen // 1_000_000,
            "last_seen": self.last_seen // 1_000_000 or None,
            "interval": round(self.interval, 3) or None,
            "latency": None if self.latency is None else round(self.latency, 3),
            "readings": self.readings,
            "refused": self.refused,
            "left_out": self.left_out,
            "metrics": sorted(self.metrics),
            "last": {"time": self.last_time // 1_000_000 or None, "values": self.last},
        }


def paused(device: Device, moment: float) -> None:
    """It is heard again after a pause, or for the first time since the start."""
    if not device.count:
        device.began = moment
        if device.rhythm is not None:
            device.rhythm.resume(moment)
        return
    if device.rhythm is None:
        device.rhythm = Rhythm(device.began)
    device.rhythm.gap(device.heard, moment)
