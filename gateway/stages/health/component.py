"""One part that has a health."""

import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.stages.health.levels import Grade, Level
from gateway.stages.health.rules import Deduction, Rules
from gateway.stages.health.trend import Trend

Probe = Callable[[], Sequence[Deduction] | None]
"""What a part is losing points for now; None while nothing is known."""

_FIGURES = str.maketrans("", "", string.digits + ".")
_NOTHING = frozenset[str]()


@dataclass(slots=True)
class Component:
    """One part as last evaluated (ns). told: the score that was last given out as changed; said:
    what it was of, without the figures; of a device only which metrics, since many have their
    source's trouble in common."""

    kind: str
    name: str
    probe: Probe
    score: int = 0
    reasons: Sequence[Deduction] = ()
    evaluated: int = 0
    told: int = 0
    said: frozenset[str] = _NOTHING
    grade: Grade = field(default_factory=Grade)
    samples: Trend | None = None

    @property
    def path(self) -> str:
        """`<kind>/<name>`."""
        return f"{self.kind}/{self.name}"

    @property
    def level(self) -> Level:
        """Its level."""
        return self.grade.level

    @property
    def trend(self) -> str:
        """rising, falling or steady."""
        return self.samples.word if self.samples is not None else "steady"

    def evaluate(self, rules: Rules, step: int = 1) -> bool:
        """Look again; True if the level changed, the score by `step`, or what it is of: a score
        of 0 stays 0 when the next trouble comes."""
        found = self.probe()
        if found is None:
            self.reasons = ()
            return self.take(None, rules, step)
        self.reasons = sorted(found, key=lambda reason: -reason.cost) if found else ()
        return self.take(max(0, 100 - sum(reason.cost for reason in found)), rules, step)

    def take(self, score: int | None, rules: Rules, step: int = 1) -> bool:
        """The score is this now, or unknown; True as for `evaluate`."""
        now, before, known = time.monotonic(), self.score, self.level is not Level.UNKNOWN
        self.evaluated, self.score = time.time_ns(), score or 0
        if score is None:
            self.samples = None
        elif known and (self.samples is not None or score != before):
            self._sample(before, now, rules.trend)
        changed = self.grade.take(score, now, rules.hysteresis)
        said = _NOTHING  # the same one for all that are well, which are many
        if self.reasons:
            said = frozenset(map(self._gist, self.reasons))
        if changed or abs(self.score - self.told) >= step or said != self.said:
            self.told, self.said = self.score, said
            return True
        return False

    def _gist(self, reason: Deduction) -> str:
        return reason.metric if self.kind == "device" else reason.text.translate(_FIGURES)

    def _sample(self, before: int, now: float, window: float) -> None:
        if self.samples is None:
            self.samples = Trend(window)
            self.samples.add(now - 1.0, before)
        self.samples.add(now, self.score)
        if self.samples.flat:
            self.samples = None

    def as_dict(self) -> dict[str, Any]:
        """The contract's health message."""
        return {
            "time": self.evaluated // 1_000_000,
            "level": self.level.value,
            "score": self.score,
            "trend": self.trend,
            "reasons": [reason.as_dict() for reason in self.reasons],
        }
