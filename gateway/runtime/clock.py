"""Whether this machine knows what time it is. A Pi has no clock that runs while it is off."""

import asyncio
import logging
import time
from pathlib import Path

from gateway.bus.records import Stamp

log = logging.getLogger(__name__)

_BUILT = 1_793_000_000 * 10**9  # 2026-10-26: a clock before this program was made is wrong
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_LOOK = 2.0


class Clock:
    """mode `trust`: the clock is right. `auto`: it is once a time service says so, or if it is
    later than the last time seen (`last_seen`, ns) and than this program."""

    def __init__(self, mode: str, last_seen: int) -> None:
        self._trusted = mode == "trust"
        self._earliest = max(last_seen, _BUILT)
        self._set = asyncio.Event()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._look()

    @property
    def synced(self) -> bool:
        """Whether times taken now are right."""
        return self._set.is_set()

    def stamp(self) -> Stamp:
        """Now, by every clock there is; safe in any thread."""
        monotonic = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Stamp(self._boot, monotonic, time.time_ns(), self.synced)

    async def wait(self, timeout: float) -> None:
        """Return once the clock is set, or after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._set.wait()
        except TimeoutError:
            log.warning("clock: still not set; readings go out with the times they have")

    async def run(self) -> None:
        """Look until the clock is set."""
        if self.synced:
            return
        log.warning("clock: not set yet; readings are marked until it is")
        while not self._look():  # noqa: ASYNC110 - a file tells, and files wake nobody
            await asyncio.sleep(_LOOK)
        log.warning("clock: set")

    def _look(self) -> bool:
        by_service = _SYNCHRONISED.exists()
        if self._trusted or by_service or time.time_ns() > self._earliest:
            self._set.set()
        return self.synced
