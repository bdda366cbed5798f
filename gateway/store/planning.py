"""Which level of history answers a question, and where finer or coarser ones must help out."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.store.points import DEFAULT_BUCKETS
from gateway.store.rollups import WIDTHS

EXACT = 100_000
"""So many samples are read as they are, unless rollups give the same."""
_FINE, _FINEST = 16, 64
"""Rollups that many times narrower than what is asked for are fine enough, although edges do not
meet: a bucket belongs where it begins. Sums and counts show that most."""


@dataclass(frozen=True, slots=True)
class Question:
    """One series in [start, end) (ns). points, how: as in `History.query`."""

    device: str
    metric: str
    start: int
    end: int
    points: int | None = None
    how: str | None = None

    @property
    def buckets(self) -> int:
        """How many stretches of time the answer has a point, or a few, for."""
        if self.how is not None:
            return self.points or DEFAULT_BUCKETS
        return max((self.points or 0) // 4, 1)

    def meets(self, level: int) -> bool:
        """Whether its edges are edges of the level's buckets too."""
        width, span = WIDTHS[level], self.end - self.start
        return self.start % width == 0 and span % (self.buckets * width) == 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is read of one level: buckets that begin in [start, end) (ns)."""

    level: int
    start: int
    end: int


def level_of(asked: Question, entries: int) -> int:
    """The coarsest level that answers rightly. entries: how much there is to read of what is
    finest, about."""
    if asked.how is not None:
        for level in reversed(WIDTHS):
            if asked.meets(level):
                return level
    if entries <= max(EXACT, asked.points or 0):
        return 0
    fine = _FINEST if asked.how in ("sum", "count") else _FINE
    width = (asked.end - asked.start) / asked.buckets
    return max((n for n, own in WIDTHS.items() if own * fine <= width), default=0)


def plan(start: int, end: int, level: int, expired: Mapping[int, int]) -> list[Stretch]:
    """[start, end) at `level`, in order; finer at its edges, and coarser where retention has
    deleted what is finer. expired: by level, before when rows may be gone (ns)."""
    if start >= end:
        return []
    whole = _whole_from(level, expired)
    if start < whole:
        older = plan(start, min(whole, end), level + 1, expired)
        return older + plan(whole, end, level, expired)
    if level == 0:
        return [Stretch(0, start, end)]
    width, finer = WIDTHS[level], _whole_from(level - 1, expired)
    first, last = -(-start // width) * width, end // width * width
    before: list[Stretch] = []
    after: list[Stretch] = []
    if start < first and start >= finer:
        before = plan(start, min(first, end), level - 1, expired)
        start = first
    if max(last, start) < end and last >= finer:
        after = plan(max(last, start), end, level - 1, expired)
        end = last
    middle = [Stretch(level, start, end)] if start < end else []
    return before + middle + after


def _whole_from(level: int, expired: Mapping[int, int]) -> int:
    """From when on (ns) a level has everything; an edge of the next coarser one's buckets."""
    until = expired.get(level, 0)
    if until <= 0 or level + 1 not in WIDTHS:
        return -(2**63)
    width = WIDTHS[level + 1]
    return -(-until // width) * width
