"""What costs how many points: limits of metrics, weights of parts, when a device is silent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from gateway.stages.health.levels import Hysteresis


@dataclass(frozen=True, slots=True)
class Deduction:
    """Why a score is not 100. metric has reached `value` where `limit` is the most that is well;
    it costs `cost` points. text: the same for people. doing: what the gateway does about it, or
    ""."""

    metric: str
    value: float | str
    limit: float | str
    cost: int
    text: str
    doing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For topics and the API."""
        found = {
            "metric": self.metric,
            "value": self.value,
            "limit": self.limit,
            "cost": self.cost,
            "text": self.text,
        }
        return found | {"doing": self.doing} if self.doing else found


@dataclass(frozen=True, slots=True)
class Limit:
    """From when on a metric costs points, and how many it costs at most. A `critical` below
    `warning` says that less is worse."""

    warning: float
    critical: float
    weight: int

    def cost(self, value: float) -> int:
        """0 before `warning`; there half of `weight`, growing in a straight line to the whole of
        it at `critical`."""
        share = (value - self.warning) / (self.critical - self.warning)
        return round(self.weight * (1 + min(share, 1.0)) / 2) if share >= 0 else 0


Limits = Mapping[str, Limit]
"""Limits by metric."""


def over(limits: Limits, metric: str, value: float, text: str, doing: str = "") -> list[Deduction]:
    """What `value` of a metric costs; nothing where it is well, or where nobody set a limit."""
    limit = limits.get(metric)
    cost = limit.cost(value) if limit is not None else 0
    if limit is None or not cost:
        return []
    return [Deduction(metric, round(value, 2), limit.warning, cost, text, doing)]


@dataclass(frozen=True, slots=True)
class Silence:
    """When a device is silent. at_least: never before (s); missed: after so many of its usual
    intervals; unknown: what goes while its rhythm is not known yet (s)."""

    at_least: float = 60.0
    missed: float = 5.0
    unknown: float = 600.0


@dataclass(slots=True)
class Rules:
    """Everything that health goes by. limits: by metric; special: others for parts whose
    `<kind>/<name>` fits one of the patterns, the last that fits; weights: of parts in the whole,
    by the same patterns, 1 where none fits; trend: how long the window of a trend is (s)."""

    limits: Limits = field(default_factory=dict)
    special: Sequence[tuple[Sequence[str], Limits]] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    hysteresis: Hysteresis = field(default_factory=Hysteresis)
    silence: Silence = field(default_factory=Silence)
    trend: float = 300.0
    _limits: dict[str, Limits] = field(default_factory=dict)
    _shared: dict[tuple[int, ...], Limits] = field(default_factory=dict)
    _weights: dict[str, float] = field(default_factory=dict)

    def adopt(self, other: "Rules") -> None:
        """Go by other rules from now on."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    def of(self, part: str) -> Limits:
        """The limits of one part, `<kind>/<name>`."""
        if not self.special:
            return self.limits
        known = self._limits.get(part)
        if known is None:
            fitting = tuple(
                place
                for place, (patterns, _) in enumerate(self.special)
                if any(fnmatchcase(part, pattern) for pattern in patterns)
            )
            known = self._limits[part] = self._merged(fitting)
        return known

    def _merged(self, fitting: tuple[int, ...]) -> Limits:
        """The limits of all parts that these of `special` fit: thousands of devices share them."""
        known = self._shared.get(fitting)
        if known is None:
            known = dict(self.limits)
            for place in fitting:
                known.update(self.special[place][1])
            self._shared[fitting] = known
        return known

    def weight(self, part: str) -> float:
        """What a part weighs in the whole."""
        known = self._weights.get(part)
        if known is None:
            found = [own for pattern, own in self.weights.items() if fnmatchcase(part, pattern)]
            known = self._weights[part] = found[-1] if found else 1.0
        return known
