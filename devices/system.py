"""This machine itself as a device: processor, memory, disks, network, temperature, power.

What a machine lacks is left out, not zero; a probe that fails never stops the others.
"""

import asyncio
import logging
import os
import platform
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import psutil

from gateway.core.contracts import Burst, Context, Device, Reading, Value
from gateway.core.settings import DeviceSettings, Duration
from gateway.io import raspberry
from gateway.io.polling import every

log = logging.getLogger(__name__)

_FIRST = 0.2  # how long the first sample looks at the processor (s)
_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_STATES = {
    "01": "established", "02": "syn_sent", "03": "syn_received", "04": "fin_wait", "05": "fin_wait",
    "06": "time_wait", "08": "close_wait", "09": "last_ack", "0A": "listen", "0B": "closing",
}  # fmt: skip
_UNITS = {
    "percent": "%", "bytes": "B", "rx": "B/s", "tx": "B/s", "read": "B/s", "write": "B/s",
    "temperature": "°C", "uptime": "s", "rss": "B", "total": "B", "used": "B", "free": "B",
    "available": "B",
}  # fmt: skip

Metrics = Iterator[tuple[str, Value]]


class SystemSettings(DeviceSettings):
    """This machine's own sensors."""

    type: Literal["system"] = "system"
    """Which driver."""
    interval: Duration = 5.0
    """Time between readings."""

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return SystemDevice(name, self.interval, context)


class SystemDevice:
    """See the module. root: where the file system begins; another one in tests."""

    def __init__(
        self, name: str, interval: float, context: Context, root: Path = Path("/")
    ) -> None:
        self.name = name
        self._interval = interval
        self._facts = context.facts
        self._root = root
        self._own = psutil.Process()
        self._broker: psutil.Process | None = None
        self._rates: dict[str, tuple[float, float]] = {}
        self._failing: set[str] = set()

    async def listen(self) -> AsyncIterator[Burst]:
        """A reading now, and then one each interval."""
        psutil.cpu_percent()
        psutil.cpu_percent(percpu=True)
        self._own.cpu_percent()
        await asyncio.sleep(_FIRST)  # a processor's load is a difference of two looks
        async for _ in every(self._interval):
            # In a thread: asking a dead network mount for its size can block for minutes.
            values = await asyncio.to_thread(self.sample)
            now = time.time_ns()
            yield Burst(now, readings=[Reading(self.name, now, values)])

    def sample(self) -> dict[str, Value]:
        """Everything there is at the moment; blocks."""
        values: dict[str, Value] = {}
        for probe in self._probes():
            name = probe.__name__.strip("_")
            try:
                values.update(probe())
                self._failing.discard(name)
            except (OSError, psutil.Error, ValueError, IndexError) as error:
                if name not in self._failing:
                    log.warning("device %s: no %s: %s", self.name, name, error)
                self._failing.add(name)
        return {k: v if isinstance(v, bool | str) else float(v) for k, v in values.items()}

    def _probes(self) -> tuple[Callable[[], Metrics], ...]:
        return (
            self._cpu, self._memory, self._disks, self._disk_io, self._network, self._connections,
            self._temperature, self._power, self._load, self._gateway, self._mosquitto,
        )  # fmt: skip

    def info(self) -> Mapping[str, Any]:
        """Model, system and units."""
        found = {
            "source": "system",
            "model": raspberry.model(self._root),
            "machine": platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "os": _os_name(self._root),
            "units": _UNITS,
        }
        return {key: value for key, value in found.items() if value}

    # -- probes -----------------------------------------------------------------------------

    def _cpu(self) -> Metrics:
        yield "cpu.percent", psutil.cpu_percent()
        for number, percent in enumerate(psutil.cpu_percent(percpu=True)):
            yield f"cpu.{number}.percent", percent
        frequency = psutil.cpu_freq()
        if frequency and frequency.current:
            yield "cpu.mhz", frequency.current

    def _memory(self) -> Metrics:
        memory = psutil.virtual_memory()
        for key in ("total", "used", "available", "percent"):
            yield f"memory.{key}", getattr(memory, key)
        swap = psutil.swap_memory()
        if swap.total:
            for key in ("total", "used", "percent"):
                yield f"swap.{key}", getattr(swap, key)

    def _disks(self) -> Metrics:
        seen: set[str] = set()
        for part in psutil.disk_partitions(all=False):
            if part.device in seen or part.fstype in ("squashfs", "iso9660"):
                continue  # a second mount of the same disk tells nothing new
            seen.add(part.device)
            name = _name(part.mountpoint.strip("/")) or "root"
            try:
                usage = psutil.disk_usage(part.mountpoint)
            except OSError:
                continue  # one dead mount must not hide the others
            for key in ("total", "used", "free", "percent"):
                yield f"disk.{name}.{key}", getattr(usage, key)

    def _disk_io(self) -> Metrics:
        for disk, io in psutil.disk_io_counters(perdisk=True).items():
            if disk.startswith(("loop", "ram")):
                continue
            yield from self._rate(f"disk_io.{_name(disk)}.read", io.read_bytes)
            yield from self._rate(f"disk_io.{_name(disk)}.write", io.write_bytes)

    def _network(self) -> Metrics:
        up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
        for interface, io in psutil.net_io_counters(pernic=True).items():
            if interface not in up:
                continue
            name = _name(interface)
            yield from self._rate(f"net.{name}.rx", io.bytes_recv)
            yield from self._rate(f"net.{name}.tx", io.bytes_sent)
            yield f"net.{name}.errors", io.errin + io.errout
            yield f"net.{name}.drops", io.dropin + io.dropout

    def _connections(self) -> Metrics:
        """From the kernel's table: asking per process needs root and costs much more."""
        counts: dict[str, int] = {}
        for table in ("tcp", "tcp6"):
            path = self._root / "proc/net" / table
            if not path.exists():
                continue
            for line in path.read_text().splitlines()[1:]:
                state = _STATES.get(line.split()[3])
                if state:
                    counts[state] = counts.get(state, 0) + 1
        for state, count in counts.items():
            yield f"connections.{state}", count

    def _temperature(self) -> Metrics:
        for zone in sorted((self._root / "sys/class/thermal").glob("thermal_zone*")):
            try:
                celsius = int((zone / "temp").read_text()) / 1000
                name = _name((zone / "type").read_text().strip())
            except (OSError, ValueError):
                continue  # a zone may be listed and refuse to be read
            yield f"temperature.{name}", celsius

    def _power(self) -> Metrics:
        yield from raspberry.throttled(self._root).items()

    def _load(self) -> Metrics:
        for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
            yield f"load.{minutes}", load
        yield "uptime", time.time() - psutil.boot_time()

    def _gateway(self) -> Metrics:
        yield from self._process("gateway", self._own)

    def _mosquitto(self) -> Metrics:
        pid = self._facts.get("broker_pid", lambda: None)()
        if pid is None:
            return
        if self._broker is None or self._broker.pid != pid:
            self._broker = psutil.Process(pid)
        yield from self._process("broker", self._broker)

    def _process(self, name: str, process: psutil.Process) -> Metrics:
        with process.oneshot():
            yield f"{name}.cpu.percent", process.cpu_percent()
            yield f"{name}.memory.rss", process.memory_info().rss
            yield f"{name}.threads", process.num_threads()
            yield f"{name}.files", process.num_fds()

    def _rate(self, name: str, total: float) -> Metrics:
        """A counter's growth per second; nothing the first time, and nothing when it was reset."""
        now = time.monotonic()
        before = self._rates.get(name)
        self._rates[name] = (now, total)
        if before is not None and now > before[0] and total >= before[1]:
            yield name, (total - before[1]) / (now - before[0])


def _name(text: str) -> str:
    return _NOT_NAME.sub("_", text).strip("_")


def _os_name(root: Path) -> str | None:
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("PRETTY_NAME", "").strip('"') or None
