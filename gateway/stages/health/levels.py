"""Levels, and the inertia that keeps one from flapping."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Levels, best first. UNKNOWN is not FAILED: nobody has looked yet, or nobody can."""

    EXCELLENT = "EXCELLENT"
    GOOD = "GOOD"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


_LEVELS = ((90, Level.EXCELLENT), (75, Level.GOOD), (50, Level.WARNING), (25, Level.CRITICAL))
_RANKS = {level: rank for rank, level in enumerate(Level)}


def level_of(score: int) -> Level:
    """The level of a score from 0 to 100."""
    return next((level for least, level in _LEVELS if score >= least), Level.FAILED)


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """When a level follows its score. margin: points above the border before it gets better;
    better, worse: how long (s) the score must have been beyond it."""

    margin: int = 3
    better: float = 5.0
    worse: float = 0.0


class Grade:
    """A level that follows a score with inertia: as a thermostat, it turns at one point on the way
    down and at another on the way up. moving: whether a change is waiting for its time."""

    __slots__ = ("_next", "_since", "level")

    def __init__(self) -> None:
        self.level = Level.UNKNOWN
        self._next: Level | None = None
        self._since = 0.0

    @property
    def moving(self) -> bool:
        """See the class."""
        return self._next is not None

    def take(self, score: int | None, now: float, rule: Hysteresis) -> bool:
        """The score is this now (s, monotonic), or unknown; whether the level has changed."""
        before = self.level
        if score is None or before is Level.UNKNOWN:
            self.level = Level.UNKNOWN if score is None else level_of(score)
            self._next = None
        elif _RANKS[level_of(score)] > _RANKS[before]:
            self._towards(level_of(score), now, rule.worse)
        elif _RANKS[better := level_of(score - rule.margin)] < _RANKS[before]:
            self._towards(better, now, rule.better)
        else:
            self._next = None
        return self.level is not before

    def _towards(self, level: Level, now: float, wait: float) -> None:
        """Go there after `wait`, or to what lies nearest of what was asked for meanwhile."""
        here, there = _RANKS[self.level], _RANKS[level]
        pending = _RANKS[self._next] if self._next is not None else here
        if (pending - here) * (there - here) <= 0:  # none yet, or on the other side
            self._next, self._since = level, now
        elif abs(there - here) < abs(pending - here):
            self._next = level
        if now - self._since >= wait and self._next is not None:
            self.level, self._next = self._next, None
