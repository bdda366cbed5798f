"""Whether this machine knows what time it is. A Pi has no clock that runs while it is off."""

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from gateway.bus.records import Stamp
from gateway.bus.times import Boot, Times
from gateway.core.contracts import Burst, Flag, boottime
from gateway.io.polling import second
from gateway.runtime.boots import read_boots, write_boots

log = logging.getLogger(__name__)

BUILT = 1_793_000_000 * 10**9  # 2026-10-26: a clock before this program was made is wrong
_STEP = 500_000_000  # ns; a clock that moves more than this was set
_AGREE = 60.0  # a battery clock so near to ours is where ours came from (s)
_TIME_ERROR = 5  # adjtimex(2): not synchronised
_TIMEX = 512  # bytes; struct timex is 208 on 64 bits
_STRONG = frozenset({"trust", "timesyncd", "kernel", "rtc"})

Known = Callable[[str], None]
"""Told the id of a boot once it is known when it was."""


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def kernel_synchronised() -> bool:
    """Whether the kernel was told that its clock is right; ntpd and chrony tell it. adjtimex(2)
    may be forbidden to us: then no."""
    try:
        state: int = _libc().adjtimex(ctypes.create_string_buffer(_TIMEX))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR


class Clock:
    """mode `trust`: the clock is right. `auto`: it is once a time service, the kernel or a battery
    clock says so; where there is nothing that could, if it is later than the last time seen and
    than this program.

    Once the clock was right it stays so for this boot: if it jumps to where it cannot be and
    nobody speaks for it, we go on from where it was, by CLOCK_BOOTTIME.

    source: what told that the clock is right: trust, timesyncd, kernel, rtc, plausible (nothing
    speaks against it) or boottime (we go on by ourselves); "": it is not.
    times: what is known of boots, kept up to date here. last: the journal's last stamp.
    directory: where older boots are remembered. root, kernel: others in tests.
    """

    def __init__(
        self,
        mode: str,
        times: Times,
        last: Stamp,
        directory: Path,
        *,
        root: Path = Path("/"),
        kernel: Callable[[], bool] = kernel_synchronised,
    ) -> None:
        self.source = ""
        self._mode = mode
        self._timesync = root / "run/systemd/timesync"
        self._synchronized = self._timesync / "synchronized"
        self._chrony = root / "run/chrony"
        self._rtc = root / "sys/class/rtc/rtc0/since_epoch"
        self._kernel = kernel
        self._times = times
        self._path = directory / "clock.json"
        self._set = asyncio.Event()
        self._since = boottime()
        self._observers: list[Known] = []
        self._unsaved = True
        self._failing = ""
        times.merge(read_boots(self._path))
        known = times.boots.get(last.boot)
        lowest = known.lowest if known is not None else None
        seen = last.wall if lowest is None else last.monotonic + lowest
        self._floor = max(seen, BUILT)
        boot_id = (root / "proc/sys/kernel/random/boot_id").read_text().strip()
        now = boottime()
        self._boot = times.learn(Stamp(boot_id, now, now, synced=False))
        self._least = self._floor - now if last.boot != boot_id else seen - last.monotonic
        self._wall = 0  # wall clock minus CLOCK_BOOTTIME when we last looked
        self._offset = 0  # what we take it to be
        self.look()

    @property
    def synced(self) -> bool:
        """Whether times taken now are right."""
        return self._set.is_set()

    def now(self) -> int:
        """The time (ns, UTC), as right as it can be told; safe in any thread."""
        return self.at(boottime())

    def at(self, moment: int) -> int:
        """When CLOCK_BOOTTIME was `moment` in this boot (ns, UTC), as right as it can be told."""
        return moment + self._offset

    def at_least(self) -> int:
        """What time it is at the least (ns, UTC), for what deletes by age."""
        return boottime() + (self._offset if self._times.least is None else self._times.least)

    def stamp(self) -> Stamp:
        """Now, by every clock there is; safe in any thread."""
        now = boottime()
        self._boot.last = now
        base = self._boot.base or 0
        return Stamp(self._boot.id, now, now + self._offset, self.synced, base)

    def received(self, burst: Burst) -> tuple[int, int]:
        """When a burst came (ns, UTC) and the flags of a time that is ours. By CLOCK_BOOTTIME: a
        clock that is set between a burst and its commit tears nothing."""
        if abs(_wall() - self._wall) > _STEP:
            self.look()
        flags = 0 if self.synced else Flag.UNSYNCED.value
        return burst.boottime + self._offset, flags

    def tell(self, observer: Known) -> None:
        """Tell of every boot of which it is known when it was, and of others once it is."""
        self._observers.append(observer)
        for boot in self._times.boots.values():
            if boot.offset is not None:
                observer(boot.id)

    def as_dict(self) -> dict[str, Any]:
        """For status: offset is wall clock minus CLOCK_BOOTTIME (s), since in epoch ms."""
        return {
            "synced": self.synced,
            "source": self.source or None,
            "offset": round(self._offset / 1e9, 3),
            "since": self.at(self._since) // 1_000_000,
        }

    def unset_for(self) -> float:
        """How long the clock has been known not to be set (s)."""
        return 0.0 if self.synced else (boottime() - self._since) / 1e9

    async def wait(self, timeout: float) -> None:
        """Return once the clock is set, or after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._set.wait()
        except TimeoutError:
            log.warning("clock: still not set; readings go out with the times they have")

    async def run(self) -> None:
        """Look at the clock for as long as we run."""
        if not self.synced:
            log.warning("clock: not set yet; readings are marked until it is")
        while True:
            if self._unsaved:
                self._unsaved = False
                await asyncio.to_thread(self._save, list(self._times.boots.values()))
            await second()
            self.look()

    def _save(self, boots: list[Boot]) -> None:
        try:
            write_boots(self._path, boots)
            self._failing = ""
        except OSError as error:
            self._unsaved = True
            if not self._failing:
                log.error("clock: %s cannot be written: %s", self._path, error)
            self._failing = str(error)

    def look(self) -> None:
        """Look whether the clock is set, and whether it jumped."""
        wall = _wall()
        moved, self._wall = wall - self._wall, wall
        source = self._vouched(wall + boottime())
        before = self._boot.offset if not self._boot.estimated else None
        if source:
            self._believe(source, wall, moved)
        elif before is not None:
            self._hold(before, wall)
        else:
            if self._boot.base is None:
                self._boot.base = max(wall, self._floor - boottime())
            self._offset = self._boot.base
        strong = self.source in _STRONG
        self._times.least = self._boot.lowest if strong else self._least

    def _believe(self, source: str, wall: int, moved: int) -> None:
        stepped = abs(wall - self._offset) > _STEP
        if self.synced and stepped:
            log.warning("clock: set by %+.3f s", moved / 1e9)
        elif not self.synced and self._unset():
            log.warning("clock: set (%s)", source)
        changed = source != self.source or stepped
        self.source, self._offset = source, wall
        if not changed:
            return
        self._since = boottime()
        self._boot.note(wall)
        self._unsaved = True
        self._set.set()
        for boot in [*self._times.estimate(), self._boot]:
            for observer in self._observers:
                observer(boot.id)

    def _hold(self, offset: int, wall: int) -> None:
        """The clock is where it cannot be: go on from where it was."""
        if self.source != "boottime":
            off = (wall - offset) / 1e9
            log.error(
                "clock: it is %+.0f s off from where it was in this boot, and nobody speaks for "
                "it; we go on without it (set `clock: trust` if it is right)", off,
            )  # fmt: skip
            self.source, self._since = "boottime", boottime()
        self._offset = offset
        self._set.set()

    def _unset(self) -> bool:
        return self._boot.base is not None

    def _vouched(self, now: int) -> str:
        """Who says that `now` (ns) is right, or ""."""
        if self._mode == "trust":
            return "trust"
        if now <= BUILT:
            return ""
        if self._synchronized.exists():
            return "timesyncd"
        # Where timesyncd is at work, its word counts: the time that it saved at the last shutdown
        # looks right, and is wrong by as long as the machine was off.
        waiting = self._timesync.exists()
        if not waiting and self._kernel():
            return "kernel"
        if now <= self._floor:
            return ""
        if self._battery(now):
            return "rtc"
        waiting = waiting or self._chrony.exists()
        return "" if waiting else "plausible"

    def _battery(self, now: int) -> bool:
        """Whether there is a clock that ran on while the machine was off, and agrees."""
        try:
            return abs(int(self._rtc.read_text()) - now / 1e9) < _AGREE
        except (OSError, ValueError):
            return False


def _wall() -> int:
    """The wall clock minus CLOCK_BOOTTIME (ns)."""
    return time.time_ns() - boottime()
