"""How much a value has changed within a time."""

from collections import deque

from gateway.core.contracts import Value

_POINTS = 64  # that are kept: enough for a 64th of the time


class Change:
    """Of one value. within: the time (s)."""

    __slots__ = ("_points", "_span")

    def __init__(self, within: float) -> None:
        self._points: deque[tuple[int, float]] = deque()
        self._span = int(within * 1e9)

    def follow(self, moment: int, value: Value) -> float | None:
        """How much it has changed by then (ns), where it is `value`; None for what is no number."""
        if isinstance(value, str | bool):
            return None
        points = self._points
        if not points or moment - points[-1][0] >= self._span // _POINTS:
            points.append((moment, float(value)))
        while len(points) > 1 and moment - points[1][0] >= self._span:
            points.popleft()
        return float(value) - points[0][1]
