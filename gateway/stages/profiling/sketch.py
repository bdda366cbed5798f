"""Durations counted in buckets that grow by a constant factor: quantiles with a bounded relative
error, whatever the distribution, from little memory; sketches of two stretches of time merge.

Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
Relative-Error Guarantees", PVLDB 12(12), 2019. The `ddsketch` package does the same for twice the
time an observation, and has nothing as small for stretches that are over.
"""

from array import array
from collections.abc import Iterable
from math import ceil, log

ERROR = 0.01
"""Largest relative error of a quantile between LEAST and MOST."""
LEAST, MOST = 1e-6, 86_400.0
"""What is shorter or longer counts as this (s)."""
_FACTOR = (1 + ERROR) / (1 - ERROR)
_SCALE = 1 / log(_FACTOR)
_SHIFT = log(LEAST) * _SCALE
_LAST = ceil(log(MOST / LEAST) * _SCALE)


class Sketch:
    """See the module. count: durations; total: their sum (s); longest: the longest (s)."""

    __slots__ = ("buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        # Of a clock that is set back, or that stands still: no time has passed.
        if LEAST < seconds < MOST:
            place = ceil(log(seconds) * _SCALE - _SHIFT)
        else:
            place = 0 if seconds <= LEAST else _LAST
        buckets = self.buckets
        buckets[place] = buckets.get(place, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.longest:
            self.longest = seconds

    def merge(self, places: Iterable[int], counts: Iterable[int]) -> None:
        """Count what another has in its buckets; `count`, `total` and `longest` stay."""
        buckets = self.buckets
        for place, count in zip(places, counts, strict=True):
            buckets[place] = buckets.get(place, 0) + count

    def quantiles(self, *shares: float) -> list[float]:
        """The durations (s) that these shares (0 to 1, ascending) of all are not longer than; 0
        where nothing was counted."""
        found: list[float] = []
        places = iter(sorted(self.buckets))
        place, below = 0, 0  # `below`: how many lie in this bucket or below it
        for share in shares:
            rank = min(int(share * self.count), self.count - 1)
            while below <= rank and (following := next(places, None)) is not None:
                place = following
                below += self.buckets[place]
            found.append(min(_middle(place), self.longest))
        return found


def _middle(place: int) -> float:
    """What a bucket's durations are taken for: nowhere in it is further off than ERROR."""
    return LEAST * 2 * _FACTOR**place / (_FACTOR + 1)


class Stretch:
    """A sketch of a stretch of time that is over, as small as it gets: 6 bytes a bucket.

    seconds: how long it was; records: what went through.
    """

    __slots__ = ("count", "counts", "longest", "places", "records", "seconds", "total")

    def __init__(self, sketch: Sketch, seconds: float, records: int) -> None:
        self.places = array("H", sketch.buckets.keys())
        self.counts = array("I", sketch.buckets.values())
        self.count = sketch.count
        self.total = sketch.total
        self.longest = sketch.longest
        self.seconds = seconds
        self.records = records


def merged(stretches: Iterable[Stretch]) -> tuple[Sketch, float, int]:
    """One sketch of them all, the seconds they lasted, and what went through."""
    sketch, seconds, records = Sketch(), 0.0, 0
    for each in stretches:
        sketch.merge(each.places, each.counts)
        sketch.count += each.count
        sketch.total += each.total
        sketch.longest = max(sketch.longest, each.longest)
        seconds += each.seconds
        records += each.records
    return sketch, seconds, records
