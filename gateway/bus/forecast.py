"""When a subscription will begin to lose readings to retention, if nothing changes."""

import time
from bisect import bisect_right
from collections import deque

from gateway.bus.journal import Journal
from gateway.bus.subscription import Subscription

_SAMPLES = 120  # looks that the rate is taken over; ten minutes of them
_NEAR = 0.25  # in the oldest quarter of what is kept it is time to say so


class Forecast:
    """See the module. Blocking; call `look` every few seconds."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def look(self) -> None:
        """Measure how fast the journal grows."""
        self._samples.append((time.monotonic(), self._journal.appended))

    def of(self, subscription: Subscription) -> tuple[float | None, bool]:
        """Seconds until the first reading is dropped (None where that cannot be said), and whether
        the subscription stands in the oldest quarter of what is kept, by size or by age."""
        journal = self._journal
        segments = list(journal.segments)
        position = subscription.unread
        if position >= journal.next or not segments:
            return None, False
        place = max(bisect_right(segments, position, key=lambda s: s.first) - 1, 0)
        size = self._bytes_left(place)
        rate = self._rate()
        left = [size / rate] if rate else []
        near = place < len(segments) - 1 and size <= journal.quota * _NEAR
        if place < len(segments) - 1:
            limit = journal.options.max_age
            young = max(limit - journal.age(segments[place]), 0.0)
            left.append(young)
            near = near or young <= limit * _NEAR
        return min(left, default=None), near

    def _bytes_left(self, place: int) -> int:
        """Bytes that the journal takes before the segment at `place` goes."""
        journal = self._journal
        sizes = [journal.size_of(segment) for segment in journal.segments]
        segment = journal.options.segment
        spare = max(journal.quota + sum(sizes[:place]) - sum(sizes), 0)
        return max(sizes[-1] - journal.segments[-1].tail, 0) + spare // segment * segment

    def _rate(self) -> float:
        """Bytes a second."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began) if ended > began else 0.0
