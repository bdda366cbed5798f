"""A device's own rhythm: how long it usually says nothing.

A device need not send evenly. One that sends bursts pauses between them, one that lives on the sun
pauses every night, and the mean interval knows neither. What counts is where its *time* goes: the
share of its time that lies in gaps of each length (a gap is as likely to be met as it is long: the
inspection paradox, Feller, An Introduction to Probability Theory, vol. 2, I.4). So

    silent after  max(at_least, missed x usual, 1.5 x longest)

`usual` is the gap in which the median moment of its time lies, `longest` the shortest length that
95 % of its time lies below. A gap counts once its like was met twice, so that one outage teaches
nothing, and what lies a month back counts a third. A failure detector that goes by the distribution
of intervals it has seen is Hayashibara et al., The phi accrual failure detector, 2004.

Gaps are counted in octaves (8 to 16 s, 16 to 32 s, ...): 0.5 kB a device however long it lasts, and
only for one that pauses for 8 s at all; a message that comes sooner costs one comparison.
"""

import math
from array import array
from collections.abc import Iterable, Sequence

SHORT = 8.0
"""Gaps below this are not told apart (s)."""
WATCHED = 60.0
"""What a device did for less long tells nothing of its rhythm (s)."""
_OCTAVES = 20  # the last one ends at 48 days
_MEMORY = 30 * 86_400.0  # what lies so far back counts a third (s)
_TWICE = 1.5  # two gaps of one length count at least so much for 40 days
_HOUR = 3_600.0
_USUAL, _LONGEST = 0.5, 0.05  # shares of its time in gaps at least as long
SPARE = 1.5
"""A pause may be so much longer than its like was."""


class Rhythm:
    """The gaps of one device; see the module. Times in s, monotonic."""

    __slots__ = ("_counts", "_faded", "_since", "_times", "_top")

    def __init__(self, began: float) -> None:
        self._since = began  # up to here everything is counted
        self._faded = began
        self._top = 0  # the longest octave there was
        self._times = array("f", bytes(4 * (_OCTAVES + 1)))  # [0]: all that was shorter
        self._counts = array("f", bytes(4 * (_OCTAVES + 1)))

    @classmethod
    def restored(cls, kept: Iterable[Sequence[float]], age: float) -> "Rhythm":
        """What `kept` gave in an earlier run, `age` seconds ago; `resume` it when the device is
        heard. Raises ValueError if that is not what it gave."""
        rhythm = cls(0.0)
        for octave, spent, count in kept:
            place = int(octave)
            if not (0 <= place <= _OCTAVES and 0 <= spent < math.inf and 0 <= count < math.inf):
                raise ValueError("this is no rhythm")
            rhythm._times[place], rhythm._counts[place] = spent, count
            rhythm._top = max(rhythm._top, place if count else 0)
        rhythm._fade(max(age, 0.0))
        return rhythm

    def kept(self, heard: float) -> list[tuple[int, float, float]]:
        """What is to be known of it in the next run: [octave, time spent in its gaps, how many],
        with 0 for all that was shorter; it was last heard at `heard`."""
        spent = [self._times[0] + max(heard - self._since, 0.0), *self._times[1:]]
        rows = zip(range(_OCTAVES + 1), spent, self._counts, strict=True)
        return [(octave, round(time, 1), round(count, 3)) for octave, time, count in rows if time]

    def resume(self, now: float) -> None:
        """It is heard for the first time in this run: of the pause before nothing is known."""
        self._since = self._faded = now

    def gap(self, heard: float, now: float) -> None:
        """After it was heard it said nothing until now."""
        if now - self._faded > _HOUR:
            self._fade(now)
        times, length = self._times, now - heard
        times[0] += heard - self._since
        octave = min(max(int(math.log2(length / SHORT)) + 1, 1), _OCTAVES)
        times[octave] += length
        self._counts[octave] += 1.0
        self._since = now
        if octave > self._top:
            self._top = octave

    def _fade(self, now: float) -> None:
        rest = math.exp((self._faded - now) / _MEMORY)
        self._faded = now
        for values in (self._times, self._counts):
            for place, value in enumerate(values):
                values[place] = value * rest

    @property
    def longest(self) -> float:
        """What its longest gap may have been, also one that was met once only."""
        return max((SHORT * 2.0**n for n in range(1, _OCTAVES + 1) if self._counts[n]), default=0.0)

    def limit(self, heard: float, missed: float) -> float | None:
        """After how long (s) it is silent, without a lower bound; it was last heard at `heard`.
        None while too little of its time is understood."""
        times, counts = self._times, self._counts
        counted = [n for n in range(self._top, 0, -1) if counts[n] >= _TWICE]
        total = times[0] + max(heard - self._since, 0.0)
        for octave in counted:
            total += times[octave]
        if total < WATCHED:
            return None
        beyond = longest = usual = 0.0
        for octave in counted:
            beyond += times[octave]
            if not longest and beyond >= _LONGEST * total:
                longest = SHORT * 2.0**octave
            if beyond >= _USUAL * total:
                usual = times[octave] / counts[octave]
                break
        return max(missed * usual, SPARE * longest)
