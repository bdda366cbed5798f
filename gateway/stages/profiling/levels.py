"""A level for each stage, and where it is heading."""

from collections.abc import Sequence

from gateway.core.profiling_settings import StageLimits
from gateway.stages.health import Level
from gateway.stages.profiling.windows import Figures

_BUSY = 0.7
"""At this load waiting times begin to climb steeply (M/M/1: R = S / (1 - U); R. Jain, The Art of
Computer Systems Performance Analysis, 1991, ch. 31)."""
_STEADY = 0.2  # a change of less than this share of the mean in a minute is none
_LEAST = 4  # points before a slope says anything


def level(figures: Figures, limits: StageLimits | None, *, limiting: bool, servers: int) -> Level:
    """EXCELLENT or GOOD while it is within its limits, WARNING or CRITICAL beyond them."""
    if limits is not None and figures.p99 >= limits.critical:
        return Level.CRITICAL
    if limiting or (limits is not None and figures.p99 >= limits.warning):
        return Level.WARNING
    return Level.GOOD if figures.load / max(servers, 1) >= _BUSY else Level.EXCELLENT


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """By how much y grows for each x: the line with the least squares; None for too few points."""
    if len(points) < _LEAST:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def heading(points: Sequence[tuple[float, float]]) -> str:
    """rising, falling or steady; points: (s, value) of the last minute."""
    grows = slope(points)
    if grows is None:
        return "steady"
    mean = sum(y for _, y in points) / len(points)
    if abs(grows) * 60 < _STEADY * mean or not mean:
        return "steady"
    return "rising" if grows > 0 else "falling"
