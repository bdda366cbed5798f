"""This machine: memory, processors, disk, temperature, power, and where its disk is going."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gateway.core.words import about
from gateway.io import raspberry
from gateway.io.blocking import Blocking
from gateway.runtime.clock import Clock
from gateway.stages.health import Deduction, Health, Probe, Trend, over

_EVERY = 5.0
_PATIENCE = 600.0  # how long one look may take; a disk that is dead can block for minutes (s)
_OLD = 60.0  # what was seen longer ago says nothing of now (s)
_MINUTE = 60.0
_FILLING = 1800.0  # the window over which the disk's filling is watched (s)
_SURE = 300.0  # no shorter look tells where it is going (s)


@dataclass(frozen=True, slots=True)
class Facts:
    """The machine at one moment; shares in percent, temperature in °C, `room`: bytes
    that nobody has a right to yet."""

    memory: float
    cpu: float
    disk: float
    room: float
    hottest: float | None
    power: dict[str, bool]


class Machine:
    """Looks at the machine every 5 s. directory: on the disk that counts. growing: bytes on it
    that the gateway itself will still take and no more, asked in a thread: they are no sign of a
    disk that fills."""

    def __init__(
        self, directory: Path, growing: Callable[[], float], root: Path = Path("/")
    ) -> None:
        self.facts: Facts | None = None
        self.looked = 0.0
        self._directory = directory
        self._growing = growing
        self._root = root
        self._cpu: float | None = None
        self._room = Trend(_FILLING)
        self._blocking = Blocking("machine")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            # Where it fails nothing new is known; after a minute that is said.
            with suppress(OSError, psutil.Error, TimeoutError, ValueError):
                self.take(await self._blocking.call(self.look, _PATIENCE), time.monotonic())
            await asyncio.sleep(_EVERY)

    def look(self) -> Facts:
        """How it is now; blocks. Raises OSError, psutil.Error."""
        disk = psutil.disk_usage(str(self._directory))
        heat = [celsius for _, celsius in raspberry.temperatures(self._root)]
        return Facts(
            memory=psutil.virtual_memory().percent,
            cpu=psutil.cpu_percent(),
            disk=disk.percent,
            room=disk.free - self._growing(),
            hottest=max(heat, default=None),
            power=raspberry.throttled(self._root),
        )

    def take(self, facts: Facts, now: float) -> None:
        """This was seen now (s, monotonic)."""
        self.facts, self.looked = facts, now
        before = facts.cpu if self._cpu is None else self._cpu
        self._cpu = before + (facts.cpu - before) * _EVERY / _MINUTE
        self._room.add(now, facts.room)

    @property
    def cpu(self) -> float:
        """Percent of all processors, over about a minute."""
        return self._cpu or 0.0

    @property
    def full_in(self) -> float | None:
        """Seconds until the disk is full as it is filling; None where it is not."""
        return self._room.reaches(0.0) if self._room.span >= _SURE else None


def machine(watched: Machine, clock: Clock, health: Health) -> Probe:
    """This machine: memory, processors, disk, temperature, power, clock, our own work."""

    def probe() -> Sequence[Deduction] | None:
        facts, limits = watched.facts, health.rules.of("stage/machine")
        if facts is None:
            return None
        found = [*_clock(clock), *_power(facts.power)]
        found += over(limits, "memory", facts.memory, f"memory {facts.memory:.0f} % used")
        found += over(limits, "cpu", watched.cpu, f"processors {watched.cpu:.0f} % busy")
        found += over(limits, "disk", facts.disk, f"disk {facts.disk:.0f} % used")
        if (left := watched.full_in) is not None:
            found += over(limits, "disk_full", left, f"disk full {about(left)}")
        if facts.hottest is not None:
            found += over(limits, "temperature", facts.hottest, f"{facts.hottest:.0f} °C")
        late = health.late
        found += over(limits, "loop", late, f"the gateway's own work came {late:.1f} s late")
        if time.monotonic() - watched.looked > _OLD:
            text = "the disk does not say how full it is; it may be hanging"
            found.append(Deduction("disk", "no answer", "an answer", 60, text))
        return found

    return probe


def _clock(clock: Clock) -> list[Deduction]:
    if not clock.synced:
        return [Deduction("clock", "unset", "set", 20, "the clock is not set")]
    if clock.source == "boottime":
        text = "the clock jumped to where it cannot be; times go on from where it was"
        return [Deduction("clock", "jumped", "set", 20, text)]
    return []


def _power(bits: dict[str, Any]) -> list[Deduction]:
    """Of a Raspberry Pi."""
    if bits.get("undervoltage.now"):
        text = "under-voltage: the power supply is too weak; cards are damaged by that"
        return [Deduction("power", "under-voltage", "5 V", 60, text)]
    if bits.get("throttled.now"):
        return [Deduction("power", "throttled", "full speed", 30, "the processor is slowed down")]
    if bits.get("undervoltage.seen"):
        text = "the voltage was too low since the start of the machine"
        return [Deduction("power", "was too low", "5 V", 10, text)]
    return []
