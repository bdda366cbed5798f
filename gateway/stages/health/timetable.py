"""When each device is to be looked at next."""

import heapq
from collections.abc import Iterator


class Timetable:
    """By name (s, monotonic), the earliest first."""

    def __init__(self) -> None:
        self._order: list[tuple[float, str]] = []
        self._when: dict[str, float] = {}

    def put(self, name: str, when: float) -> None:
        """Look at it then, and not when it was said before."""
        self._when[name] = when
        heapq.heappush(self._order, (when, name))

    def of(self, name: str) -> float:
        """When it is to be looked at."""
        return self._when[name]

    def drop(self, name: str) -> None:
        """Look at it no more."""
        self._when.pop(name, None)

    def come(self, now: float) -> Iterator[str]:
        """Those whose time has come; each must be put again."""
        while self._order and self._order[0][0] <= now:
            when, name = heapq.heappop(self._order)
            if self._when.get(name) == when:
                yield name
