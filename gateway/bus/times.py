"""What times mean that were taken while the clock was not set.

CLOCK_BOOTTIME never jumps and always counts, but begins again with each boot. While the clock is
not set, our own times are CLOCK_BOOTTIME plus a base that does not change in that boot, so that a
step of the wall clock tears nothing. What lies on disk stays as it is; once the true offset of
that boot is known, times are put right as they are read.
"""

import msgspec

from gateway.bus.block import Block
from gateway.bus.records import Stamp
from gateway.core.contracts import Flag, Reading

_UNSYNCED = Flag.UNSYNCED.value
_MILLISECOND = 1_000_000
_BOOTS = 200  # remembered at most; a journal does not reach back that far


class Boot(msgspec.Struct):
    """One boot of this machine. first, last: CLOCK_BOOTTIME (ns) when the gateway was first and
    last seen at work in it.

    base: what our times were made with while the clock was not set (time = CLOCK_BOOTTIME + base).
    offset: wall clock minus CLOCK_BOOTTIME, the newest while it was set; None: it never was.
    lowest: the lowest offset while it was set. estimated: the offset is only what can be told from
    the boots before and after.
    """

    id: str
    first: int
    last: int
    base: int | None = None
    offset: int | None = None
    lowest: int | None = None
    estimated: bool = False

    def note(self, offset: int) -> None:
        """The clock is set, with this offset."""
        self.offset, self.estimated = offset, False
        self.lowest = offset if self.lowest is None else min(self.lowest, offset)


class Times:
    """Every boot that is remembered, in order of their beginning. least: the lowest that wall
    clock minus CLOCK_BOOTTIME can be in this boot (ns); None: the clock itself is believed."""

    def __init__(self) -> None:
        self.boots: dict[str, Boot] = {}
        self.least: int | None = None

    def learn(self, stamp: Stamp) -> Boot:
        """Take what a block's stamp tells of its boot; stamps come in the order of the journal."""
        now = stamp.monotonic
        boot = self.boots.get(stamp.boot)
        if boot is None:
            boot = self.boots[stamp.boot] = Boot(stamp.boot, now, now)
        boot.first, boot.last = min(boot.first, now), max(boot.last, now)
        if stamp.base:
            boot.base = stamp.base
        if stamp.synced:
            boot.note(stamp.wall - now)
        while len(self.boots) > _BOOTS:
            del self.boots[next(iter(self.boots))]
        return boot

    def merge(self, earlier: list[Boot]) -> None:
        """Add what was remembered elsewhere, which reaches back further."""
        learned, self.boots = self.boots, {boot.id: boot for boot in earlier}
        for boot in learned.values():
            known = self.boots.setdefault(boot.id, boot)
            known.first, known.last = min(known.first, boot.first), max(known.last, boot.last)
            known.base = known.base if boot.base is None else boot.base
            lows = [low for low in (known.lowest, boot.lowest) if low is not None]
            known.lowest = min(lows, default=None)
            if boot.offset is not None and (known.offset is None or known.estimated):
                known.note(boot.offset)

    def of(self, stamp: Stamp) -> int:
        """When a block was written (ns, UTC), as far as can be told by now."""
        boot = self.boots.get(stamp.boot)
        if boot is None or boot.offset is None:
            return stamp.wall
        return stamp.monotonic + boot.offset

    def at_least(self, now: Stamp) -> int:
        """What time it is at the least (ns, UTC): a clock that jumps ahead makes nothing old."""
        return self.of(now) if self.least is None else now.monotonic + self.least

    def shift(self, boot: str, base: int) -> int | None:
        """What is to be added to times that were made with `base` in `boot` (ns); None: that is
        not known yet. Whole ms, which history packs best."""
        known = self.boots.get(boot)
        if known is None or known.offset is None:
            return None
        shift = known.offset - base
        return shift - shift % _MILLISECOND

    def resolved(self, block: Block) -> Block:
        """`block` with times as right as they can be told by now; `settled` once they are."""
        stamp = block.meta.stamp
        if block.settled:
            return block
        boot = self.boots.get(stamp.boot)
        plain = stamp.synced and not stamp.base
        if boot is None or plain or not any(r.flags & _UNSYNCED for r in block.readings):
            block.settled = True
            return block
        shift = self.shift(stamp.boot, base_of(stamp))
        if shift is None:
            return block
        mark = _UNSYNCED if boot.estimated else 0
        readings = [
            Reading(r.device, r.time + shift, r.values, r.flags & ~_UNSYNCED | mark)
            if r.flags & _UNSYNCED
            else r
            for r in block.readings
        ]
        return Block(block.first, readings, block.meta, settled=True)

    def estimate(self) -> list[Boot]:
        """Guess the offsets of boots in which the clock was never set, now that a later one is
        known: as their own clock said, but after what came before and before what came after.
        Those that were guessed."""
        guessed: list[Boot] = []
        waiting: list[Boot] = []
        before: Boot | None = None
        for boot in self.boots.values():
            if boot.offset is None:
                waiting.append(boot)
                continue
            _fit(waiting, _end(before) if before else None, boot.first + boot.offset)
            guessed += waiting
            waiting, before = [], boot
        return guessed


def base_of(stamp: Stamp) -> int:
    """What the times of a block's marked readings were made with."""
    return stamp.base or stamp.wall - stamp.monotonic


def _end(boot: Boot) -> int:
    return boot.last + (boot.offset or 0)


def _fit(boots: list[Boot], earliest: int | None, latest: int) -> None:
    """Give each of these neighbours an offset so that they lie, in order, between two times."""
    for number, boot in enumerate(boots):
        left = sum(later.last - later.first for later in boots[number:])
        begin = min(boot.first + (boot.base or 0), latest - left)
        if earliest is not None:
            begin = max(begin, earliest)
        boot.offset, boot.estimated = begin - boot.first, True
        earliest = _end(boot)
