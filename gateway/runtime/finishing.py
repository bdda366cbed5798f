"""Bursts whose end is told in the order in which they came, whatever each of them waits for."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Open:
    steps: int
    finish: Callable[[], None]


class Finishing:
    """See the module: MQTT acknowledges in order (MQTT 5.0 section 4.6), and a dead letter may
    take longer than a commit, or the other way round."""

    def __init__(self) -> None:
        self._open: deque[_Open] = deque()

    def add(self, steps: int, finish: Callable[[], None]) -> Callable[[], None]:
        """What is to be called after each of `steps`; `finish` is called after the last of them,
        once all that were added before are finished."""
        added = _Open(steps, finish)
        self._open.append(added)

        def step() -> None:
            added.steps -= 1
            while self._open and not self._open[0].steps:
                self._open.popleft().finish()

        return step
