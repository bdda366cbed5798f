"""Which stage limits, found by looking at all of them once a second.

The rule is the USE method's (B. Gregg, Systems Performance, 2nd ed. 2020, ch. 2.5.9) read for a
pipeline: a stage limits if it was saturated, that is at work for nearly the whole of the last few
seconds, and if work queued before it all the while: its queue grew, or what is in it waits longer
than it should (by Little's law, W = N / X; R. Jain, The Art of Computer Systems Performance
Analysis, 1991, ch. 30). A stage behind it is starved, so it is never saturated; one before it does
not queue. So there is nothing to weigh: E. Goldratt's constraint is where inventory piles up.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_EARLY = 0.1  # looks are a second apart only roughly (s)
_KEEP = 2.0  # a limit is told so long after it was last seen, so that it does not flicker (s)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a stage limits. kind: service (its own work), queue (work is unevenly spread), disk,
    remote (the other side), cpu (no processor to be had) or blocked (something holds the event
    loop). text: for people."""

    stage: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Look:
    """A stage at one moment. busy: seconds that each of its servers has been at work since the
    start, what it is at now included. queue: what waits. done: what went through since the start.

    least_wait: how long (s) what waits must wait, at the rate at which it goes through, for the
    stage to be called limiting; None: the queue must have grown. figures: what the cause is told
    from. cause: called with the look before.
    """

    stage: str
    busy: Mapping[str, float]
    queue: float
    done: int
    cause: "Callable[[Span], Cause | None]"
    least_wait: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    sure: bool = False
    """It says itself that it limits."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stage between two looks, `seconds` apart."""

    before: Look
    now: Look
    seconds: float

    def loads(self) -> dict[str, float]:
        """The share of the time that each server was at work."""
        before = self.before.busy
        return {
            name: min(max(busy - before.get(name, busy), 0.0) / self.seconds, 1.0)
            for name, busy in self.now.busy.items()
        }

    def grown(self, figure: str) -> float:
        """By how much a figure has grown."""
        now = self.now.figures.get(figure, 0.0)
        return now - self.before.figures.get(figure, now)

    @property
    def wait(self) -> float:
        """How long what is queued waits at this rate (s), by Little's law."""
        rate = (self.now.done - self.before.done) / self.seconds
        return self.now.queue / rate if rate > 0 else float("inf")

    def queues(self) -> bool:
        """Whether work queues before the stage."""
        if self.now.least_wait is None:
            return self.now.queue > self.before.queue
        return self.now.queue > 0 and self.wait >= self.now.least_wait


@dataclass(slots=True)
class Limit:
    """A stage that limits. since: when it began (s, monotonic and epoch)."""

    cause: Cause
    since: float
    at: float
    seen: float

    @property
    def stage(self) -> str:
        """Which."""
        return self.cause.stage

    @property
    def text(self) -> str:
        """Why, for people."""
        return self.cause.text

    def as_dict(self) -> dict[str, Any]:
        """For topics and the API; since in epoch ms."""
        return {
            "stage": self.cause.stage,
            "cause": self.cause.kind,
            "text": self.cause.text,
            "since": int(self.at * 1000),
        }


class Detector:
    """See the module. saturated: from which share of the time on; within: of the last so many
    seconds. found: what limits, in the order in which the stages were looked at."""

    def __init__(self, saturated: float, within: float) -> None:
        self.saturated = saturated
        self.within = within
        self.found: list[Limit] = []
        self._looks: deque[tuple[float, dict[str, Look]]] = deque()

    def look(self, now: float, wall: float, looks: Sequence[Look]) -> list[Cause]:
        """Take in how things are at `now` (s, monotonic); what limits since just now."""
        self._looks.append((now, {look.stage: look for look in looks}))
        within = self.within - _EARLY
        while len(self._looks) > 2 and now - self._looks[1][0] >= within:
            self._looks.popleft()
        then, before = self._looks[0]
        causes = []
        if now - then >= within:
            spans = [
                Span(before[look.stage], look, now - then) for look in looks if look.stage in before
            ]
            causes = [cause for span in spans if (cause := self._judge(span)) is not None]
        return self._keep(causes, now, wall)

    def _judge(self, span: Span) -> Cause | None:
        if span.now.sure:
            return span.now.cause(span)
        if max(span.loads().values(), default=0.0) < self.saturated or not span.queues():
            return None
        return span.now.cause(span)

    def _keep(self, causes: Sequence[Cause], now: float, wall: float) -> list[Cause]:
        known = {(limit.stage, limit.cause.kind): limit for limit in self.found}
        found, new = [], []
        for cause in causes:
            limit = known.pop((cause.stage, cause.kind), None)
            if limit is None:
                limit = Limit(cause, now - self.within, wall - self.within, now)
                new.append(cause)
            limit.cause, limit.seen = cause, now
            found.append(limit)
        found += [limit for limit in known.values() if now - limit.seen < _KEEP]
        self.found = found
        return new
