"""Which time a reading gets: its device's own where that can be true, else when it came, and never
one twice."""

from collections.abc import Callable
from typing import NamedTuple

from gateway.core.contracts import Burst, Flag

_EARLIEST = 946_684_800 * 10**9  # 2000-01-01: an earlier time means that a device has no clock
_LATEST = 2**63 - 86_400 * 10**9  # ns
_AHEAD = 86_400 * 10**9  # how far ahead of ours a device's clock may be
_OURS = 60 * 10**9  # ns
_BACK = 10**9  # ns
_MILLISECOND = 1_000_000


class Moment(NamedTuple):
    """When a burst came. flags: of readings that get that time; late: of those with their own."""

    received: int
    flags: int
    late: int

    def flagged(self, flag: Flag) -> "Moment":
        """The same, for readings with another flag."""
        return Moment(self.received, self.flags | flag.value, self.late | flag.value)


class Times:
    """The times of one source's readings (ns). received: when a burst came, and the flags of a
    time that is ours."""

    def __init__(self, received: Callable[[Burst], tuple[int, int]]) -> None:
        self._received = received
        self._last = 0

    def anew(self) -> "Times":
        """For what came earlier: its times need not follow what has come since."""
        return Times(self._received)

    def moment(self, burst: Burst) -> Moment:
        """When a burst came."""
        received, flags = self._received(burst)
        late = int(Flag.LATE) if burst.late else 0
        time = received - received % _MILLISECOND
        # Once the clock was set back, the last time given is no measure any more.
        if time > self._last or self._last - time > _BACK:
            self._last = time - 1
        return Moment(received, flags | late, late)

    def next(self) -> int:
        """A time for a reading that brings none: whole ms, which history packs best, and never
        the same twice, since sinks take two readings of one time for one."""
        self._last += 1
        return self._last

    def following(self, count: int) -> range:
        """As many of these."""
        first, self._last = self._last + 1, self._last + count
        return range(first, first + count)

    def sane(self, time: int, moment: Moment) -> int:
        """A device's own time wins where it can be true; ours says nothing while it is not set."""
        # A time that 64 bits cannot hold would stop the journal, whatever the codec let through.
        known = not moment.flags & Flag.UNSYNCED.value
        if not _EARLIEST <= time < _LATEST or (known and time > moment.received + _AHEAD):
            return self.next()
        return time

    def read_at(self, time: int, burst: Burst, moment: Moment) -> tuple[int, int]:
        """The time of a reading that a driver made itself, and its flags."""
        ahead = time - burst.received
        # Near to when it was read, the time is from the clock that told that: ours.
        if abs(ahead) < _OURS:
            return moment.received + ahead, moment.flags
        when = self.sane(time, moment)
        return when, moment.late if when == time else moment.flags
