"""Health: a level and a score for every part, each with the reasons it lost points for.

A score starts at 100; each reason costs points; the level follows from the score. The whole is
derived from its parts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.core.contracts import Batch, Send
from gateway.core.errors import BerrygateError, Rejected
from gateway.core.events import Delivered, Event, Failed
from gateway.stages.breaker import BreakerOpen


class Level(StrEnum):
    """Levels, best first. UNKNOWN is not FAILED: nobody has looked yet, or nobody can."""

    EXCELLENT = "EXCELLENT"
    GOOD = "GOOD"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


_LEVELS = ((90, Level.EXCELLENT), (75, Level.GOOD), (50, Level.WARNING), (25, Level.CRITICAL))


def level_of(score: int) -> Level:
    """The level of a score from 0 to 100."""
    return next((level for least, level in _LEVELS if score >= least), Level.FAILED)


@dataclass(frozen=True, slots=True)
class Deduction:
    """Why a score is not 100. metric has reached `value` where `limit` is the most that is well;
    it costs `cost` points. text: the same for people."""

    metric: str
    value: float | str
    limit: float | str
    cost: int
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For topics and the API."""
        return {
            "metric": self.metric,
            "value": self.value,
            "limit": self.limit,
            "cost": self.cost,
            "text": self.text,
        }


def above(
    metric: str, value: float, warning: float, critical: float, text: str, cost: int = 30
) -> list[Deduction]:
    """`cost` points off from `warning` on, twice that from `critical` on; nothing below."""
    if value < warning:
        return []
    return [Deduction(metric, value, warning, cost * (2 if value >= critical else 1), text)]


Probe = Callable[[], Sequence[Deduction] | None]
"""What a part is losing points for now; None while nothing is known."""


@dataclass(slots=True)
class Component:
    """One part as last evaluated."""

    kind: str
    name: str
    probe: Probe
    level: Level = Level.UNKNOWN
    score: int = 0
    reasons: Sequence[Deduction] = ()
    trend: str = "steady"
    evaluated: int = 0

    def evaluate(self, now: int) -> bool:
        """Look again; True if level or score changed."""
        before = (self.level, self.score)
        found = self.probe()
        self.evaluated = now
        if found is None:
            self.level, self.score, self.reasons = Level.UNKNOWN, 0, ()
        else:
            self.reasons = sorted(found, key=lambda reason: -reason.cost)
            self.score = max(0, 100 - sum(reason.cost for reason in found))
            self.level = level_of(self.score)
        changed = before != (self.level, self.score)
        if changed and Level.UNKNOWN not in (before[0], self.level):
            self.trend = "rising" if self.score > before[1] else "falling"
        elif not changed:
            self.trend = "steady"
        return changed

    def as_dict(self) -> dict[str, Any]:
        """The contract's health message."""
        return {
            "time": self.evaluated // 1_000_000,
            "level": self.level.value,
            "score": self.score,
            "trend": self.trend,
            "reasons": [reason.as_dict() for reason in self.reasons],
        }


@dataclass(slots=True)
class Health:
    """Every part's health. devices: parts of kind `device` that are devices, by id; components:
    all others, by `<kind>/<name>`."""

    components: dict[str, Component] = field(default_factory=dict)
    devices: dict[str, Component] = field(default_factory=dict)

    def register(self, kind: str, name: str, probe: Probe) -> None:
        """Watch a part of the gateway."""
        self.components[f"{kind}/{name}"] = Component(kind, name, probe)

    def forget(self, kind: str, name: str) -> None:
        """A part of the gateway is no more."""
        self.components.pop(f"{kind}/{name}", None)

    def watch(self, device: str, probe: Probe) -> None:
        """Watch a device."""
        self.devices[device] = Component("device", device, probe)

    def evaluate(self) -> list[Component]:
        """Look at every part; those whose level or score changed."""
        now = time.time_ns()
        parts = (*self.components.values(), *self.devices.values())
        return [part for part in parts if part.evaluate(now)]

    def score(self) -> int:
        """The whole's score: half the mean of its parts and half the worst of them, so that one
        failed part among many is seen; devices count as one part by their mean."""
        known = [c.score for c in self.components.values() if c.level is not Level.UNKNOWN]
        devices = [c.score for c in self.devices.values() if c.level is not Level.UNKNOWN]
        if devices:
            known.append(round(sum(devices) / len(devices)))
        return round(sum(known) / len(known) / 2 + min(known) / 2) if known else 0

    def summary(self) -> dict[str, Any]:
        """The contract's summary of the whole."""
        parts = (*self.components.values(), *self.devices.values())
        known = any(part.level is not Level.UNKNOWN for part in parts)
        score = self.score()
        levels: dict[str, int] = {}
        for part in self.devices.values():
            levels[part.level.value] = levels.get(part.level.value, 0) + 1
        worst = sorted(
            (c for c in self.devices.values() if c.reasons), key=lambda part: part.score
        )[:20]
        return {
            "time": time.time_ns() // 1_000_000,
            "level": (level_of(score) if known else Level.UNKNOWN).value,
            "score": score,
            "reasons": [
                {"component": f"{part.kind}/{part.name}", **reason.as_dict()}
                for part in sorted(self.components.values(), key=lambda part: part.score)
                for reason in part.reasons
            ],
            "components": {
                name: {"level": part.level.value, "score": part.score}
                for name, part in self.components.items()
            },
            "devices": levels,
            "worst": [
                {
                    "device": part.name,
                    "level": part.level.value,
                    "score": part.score,
                    "reasons": [reason.as_dict() for reason in part.reasons],
                }
                for part in worst
            ],
        }


class HealthStage:
    """Tells the bus how each attempt of a bridge went, and counts what was taken.

    failed: attempts by kind of error.
    """

    def __init__(self, name: str, emit: Callable[[Event], None]) -> None:
        self.failed: dict[str, int] = {}
        self._name = name
        self._emit = emit

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send once."""
        started = time.perf_counter()
        try:
            await send(batch)
        except BreakerOpen:
            raise  # nothing was attempted
        except BerrygateError as error:
            kind = type(error).__name__.lower()
            self.failed[kind] = self.failed.get(kind, 0) + 1
            if isinstance(error, Rejected) and error.indices is not None:
                batch.tally.delivered += len(batch) - len(error.indices)
            self._emit(Failed(kind="bridge", name=self._name, error=kind, reason=str(error)))
            raise
        batch.tally.delivered += len(batch)
        seconds = time.perf_counter() - started
        self._emit(Delivered(kind="bridge", name=self._name, count=len(batch), seconds=seconds))
