"""This machine itself as a device: processor, memory, disks, network, temperature, power.

What a machine lacks is left out, not zero; a probe that fails never stops the others.
"""

import logging
import os
import platform
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
from pydantic import Field

from gateway.core.contracts import Burst, Context, Device, Reading, Value
from gateway.core.settings import DeviceSettings, Duration
from gateway.io import raspberry
from gateway.io.blocking import Blocking
from gateway.io.polling import every
from gateway.io.tcp_states import tcp_states

log = logging.getLogger(__name__)

_FIRST = 0.2  # rates and the processor's load are a difference of two looks, so far apart (s)
_PATIENCE = 600.0  # how long one look at everything may take (s)
_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_UNITS = {
    "*.percent": "%", "cpu.mhz": "MHz", "*.total": "B", "*.used": "B", "*.free": "B",
    "*.available": "B", "*.rss": "B", "*.rx": "B/s", "*.tx": "B/s", "*.read": "B/s",
    "*.write": "B/s", "temperature.*": "°C", "uptime": "s", "boot_time": "s",
}  # fmt: skip

Metrics = Iterator[tuple[str, Value]]


class SystemSettings(DeviceSettings):
    """This machine's own sensors."""

    type: Literal["system"] = "system"
    """Which driver."""
    interval: Annotated[Duration, Field(ge=0.1)] = 5.0
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
        self._blocking = Blocking(f"system-{name}")

    async def listen(self) -> AsyncIterator[Burst]:
        """A reading now, and then one each interval."""
        # In a thread that exit does not wait for: asking a dead disk for its size can block for
        # minutes.
        await self._look()
        async for _ in every(self._interval, first=_FIRST):
            values = await self._look()
            if values:
                now = time.time_ns()
                yield Burst(now, readings=[Reading(self.name, now, values)])

    async def _look(self) -> dict[str, Value]:
        try:
            values = await self._blocking.call(self.sample, _PATIENCE)
        except TimeoutError:
            self._edge("answer", f"none within {_PATIENCE:g} s")
            return {}
        self._edge("answer", "")
        return values

    def sample(self) -> dict[str, Value]:
        """Everything there is at the moment; blocks."""
        values: dict[str, Value] = {}
        for probe in self._probes():
            trouble = ""
            try:
                values.update(probe())
            except (OSError, psutil.Error, ValueError, IndexError, RuntimeError) as error:
                trouble = str(error) or type(error).__name__
            self._edge(probe.__name__.strip("_"), trouble)
        return {k: v if isinstance(v, bool | str) else float(v) for k, v in values.items()}

    def _edge(self, what: str, trouble: str) -> None:
        """Tell that something begins to fail, and that it is well again; not all in between."""
        if trouble and what not in self._failing:
            log.warning("device %s: no %s: %s", self.name, what, trouble)
            self._failing.add(what)
        elif not trouble and what in self._failing:
            log.warning("device %s: %s again", self.name, what)
            self._failing.discard(what)

    def _probes(self) -> tuple[Callable[[], Metrics], ...]:
        return (
            self._cpu, self._memory, self._disks, self._disk_io, self._network, self._connections,
            self._temperature, self._power, self._load, self._gateway, self._mosquitto,
        )  # fmt: skip

    def info(self) -> Mapping[str, Any]:
        """Model, system, and units by patterns of metric names."""
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
        yield "cpu.iowait.percent", psutil.cpu_times_percent().iowait
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
            if disk.startswith(("loop", "ram", "zram")):
                continue  # memory, or a file of another disk
            if (self._root / "sys/class/block" / disk / "partition").exists():
                continue  # counted with its disk
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
        for state, count in tcp_states(self._root).items():
            yield f"connections.{state}", count

    def _temperature(self) -> Metrics:
        for sensor, celsius in raspberry.temperatures(self._root):
            yield f"temperature.{_name(sensor)}", celsius

    def _power(self) -> Metrics:
        yield from raspberry.throttled(self._root).items()

    def _load(self) -> Metrics:
        for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
            yield f"load.{minutes}", load
        # Not by the wall clock, which is not set when a Pi starts.
        yield "uptime", time.clock_gettime(time.CLOCK_BOOTTIME)
        yield "boot_time", psutil.boot_time()

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
