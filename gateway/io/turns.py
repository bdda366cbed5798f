"""Things that are read in turn over one wire, each at its own pace.

One that does not answer is asked ever more rarely, so that it costs the others little, and is
named; it goes on by itself as soon as it answers again.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.core.events import Connected, Disconnected, Event

log = logging.getLogger(__name__)

SLOWEST = 30.0
"""What does not answer is asked so often at least, also where it is read more rarely (s)."""
LOOK = 5.0
"""Between readings that are further apart, a sign of life is asked for so often (s)."""
_NEVER = -1e9  # s, of the loop


@dataclass(slots=True, eq=False)
class Turn:
    """How it goes with one of them. name: the device's; label: for people, with where it is.
    every: how often it is read (s). looks: whether it can be asked for a sign of life. due: when
    it is read next, met: when it answered last (s, of the loop). failing: why it gives nothing, or
    "", and fix: what to do; misses: how often it did not, without an answer in between."""

    name: str
    label: str
    every: float
    looks: bool = False
    due: float = 0.0
    met: float = _NEVER
    answered: int = 0
    unanswered: int = 0
    misses: int = 0
    failing: str = ""
    fix: str = ""

    @property
    def wake(self) -> float:
        """When something is to be done (s, of the loop)."""
        if not self.looks or self.misses or self.met == _NEVER:
            return self.due
        return min(self.due, self.met + LOOK)


class Turns:
    """See the module. source: the configured source. emit: tells the bus."""

    def __init__(
        self, source: str, emit: Callable[[Event], None], turns: Iterable[Turn] = ()
    ) -> None:
        self._source = source
        self._emit = emit
        self._all = {turn.name: turn for turn in turns}

    def begin(self, now: float) -> None:
        """All are due."""
        for turn in self._all.values():
            turn.due = now

    def add(self, turn: Turn) -> None:
        """One more."""
        self._all[turn.name] = turn

    def get(self, name: str) -> Turn | None:
        """One of them."""
        return self._all.get(name)

    def next(self) -> Turn | None:
        """Whose turn it is next; None where there is nobody."""
        return min(self._all.values(), key=lambda turn: turn.wake, default=None)

    def answered(self, turn: Turn, now: float, read: bool = True) -> None:
        """It has answered. read: with a reading, and not only with a sign of life."""
        turn.met, turn.misses = now, 0
        if read:
            turn.answered += 1
            due = min(turn.due, now)
            turn.due = due + turn.every * (int((now - due) // turn.every) + 1)
        self._fails(turn, "", "")

    def missed(self, turn: Turn, reason: str, now: float, fix: str | None = None) -> None:
        """It has not, or not with anything that can be read."""
        turn.unanswered += 1
        turn.misses += 1
        turn.due = now + min(turn.every * 2.0 ** min(turn.misses, 20), SLOWEST)
        self._fails(turn, reason, fix or "")

    def _fails(self, turn: Turn, reason: str, fix: str) -> None:
        before, turn.failing, turn.fix = turn.failing, reason, fix
        if bool(before) == bool(reason):
            return
        if reason:
            what = f" ({fix})" if fix else ""
            log.warning("device %s: %s: %s%s", self._source, turn.label, reason, what)
            text = f"{turn.label}: {reason}"
            self._emit(Disconnected(kind="device", name=self._source, reason=text))
        else:
            log.warning("device %s: %s answers again", self._source, turn.label)
            self._emit(Connected(kind="device", name=self._source, detail=turn.label))

    @property
    def trouble(self) -> str:
        """Why nothing comes: nobody answers."""
        failing = self._failing()
        return _listed(failing) if failing and len(failing) == len(self._all) else ""

    @property
    def concern(self) -> str:
        """Who does not answer while others do."""
        failing = self._failing()
        return _listed(failing) if len(failing) < len(self._all) else ""

    def _failing(self) -> list[Turn]:
        return [turn for turn in self._all.values() if turn.failing]

    def details(self) -> list[dict[str, Any]]:
        """For the status."""
        return [
            {
                "device": turn.name,
                "label": turn.label,
                "answered": turn.answered,
                "unanswered": turn.unanswered,
                "failing": turn.failing or None,
                "fix": turn.fix or None,
            }
            for turn in self._all.values()
        ]


def _listed(turns: list[Turn]) -> str:
    return "; ".join(f"{turn.label}: {turn.failing}" for turn in turns)
