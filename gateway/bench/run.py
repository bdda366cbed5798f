"""The run: one phase after the other, each bounded."""

import importlib.util
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gateway import __version__
from gateway.bench.disk import Disk, disk_of, sync_times
from gateway.bench.figures import Report, percentiles
from gateway.bench.phases import Load, Phase
from gateway.bench.processes import free_port, listening, memory, program
from gateway.bench.subject import Subject, subject
from gateway.core.errors import BerrygateError, ConfigError
from gateway.io import raspberry

# Parts of the whole time; the rest is for starting and for what must come through.
_DISK, _IDLE, _PACED, _SATURATED, _PAHO_PACED, _PAHO_SATURATED = 0.04, 0.05, 0.3, 0.07, 0.14, 0.05
_MEBI = 1_000_000
_MEANINGS = {
    "fdatasync_p50": "to make 4 KiB durable, as each commit of the journal does",
    "fdatasync_p99": "the slowest in a hundred",
    "start_to_ready": "from the command to accepting data; the data directory is empty",
    "memory": "resident, of the gateway, after the run",
    "memory_peak": "the most it was",
    "memory_broker": "of its mosquitto; what queued up in the saturated phase is in it",
}


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure. seconds: about how long in all; rate: messages a second of the paced phase;
    data_dir: on which disk, None for the one of temporary files. tell: told what is being done."""

    seconds: float = 30.0
    rate: int = 1_000
    devices: int = 100
    data_dir: Path | None = None
    tell: Callable[[str], None] = lambda text: None


def run(options: Options) -> Report:
    """Measure. Raises BerrygateError; nothing is left behind, however it ends."""
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        raise ConfigError("mosquitto is not installed", fix="apt-get install mosquitto")
    with _terminable(), _directory(options.data_dir) as directory:
        return _Run(options, directory).whole()


class _Run:
    def __init__(self, options: Options, directory: Path) -> None:
        self._options = options
        self._directory = directory
        self._disk = disk_of(directory)
        self._report = Report(_machine(self._disk, directory), _setting(options, directory))
        self._busy = os.getloadavg()[0]

    def whole(self) -> Report:
        """Every phase."""
        self._fdatasync()
        with ExitStack() as stack:
            sink = self._sink(stack)
            self._options.tell("starting the gateway")
            house = stack.enter_context(subject(self._directory, sink))
            self._figure("start_to_ready", "start to ready", house.ready_after, "s")
            self._measure(house, sink)
            self._memory(house)
        self._doubts()
        return self._report

    def _measure(self, house: Subject, sink: str | None) -> None:
        options, seconds = self._options, self._options.seconds
        load = Load(house, self._directory, self._disk, sink, options.devices)
        phase = Phase(load, self._report)
        options.tell("warming up")
        phase.warm()
        options.tell("idle")
        phase.idle(seconds * _IDLE)
        options.tell(f"{options.rate:,} messages a second")
        phase.paced(options.rate, seconds * _PACED)
        options.tell("as fast as it goes")
        phase.saturated(seconds * _SATURATED, patience=max(seconds, 20.0))
        options.tell("counting")
        phase.count()
        options.tell(f"a plain paho client, {options.rate:,} messages a second")
        phase.paho(options.rate, seconds * _PAHO_PACED)
        options.tell("a plain paho client, as fast as it goes")
        phase.paho(0, seconds * _PAHO_SATURATED)

    def _sink(self, stack: ExitStack) -> str | None:
        if importlib.util.find_spec("influxdb_client") is None:
            self._report.notes.append(
                "influxdb-client is not installed: nothing was sent anywhere, and messages a "
                "second are those that came into history; pip install 'berrygate[influxdb]'"
            )
            return None
        port = free_port()
        process = stack.enter_context(program("gateway.bench.sink", str(port)))
        listening(port, process)
        return f"http://127.0.0.1:{port}"

    def _fdatasync(self) -> None:
        self._options.tell("the disk")
        try:
            times = sync_times(self._directory, self._options.seconds * _DISK)
        except OSError as error:
            raise BerrygateError(
                f"{self._directory}: {error.strerror or error}",
                fix="name a directory on a disk with room: --data-dir",
            ) from error
        p50, p99 = percentiles([1000 * each for each in times], 0.5, 0.99)
        missing = "" if self._disk.device else self._disk.why
        if self._disk.kind in ("tmpfs", "ramfs"):
            p50 = p99 = None
        self._figure("fdatasync_p50", "fdatasync p50", p50, "ms", missing if p50 is None else "")
        self._figure("fdatasync_p99", "fdatasync p99", p99, "ms", missing if p99 is None else "")

    def _memory(self, house: Subject) -> None:
        now, most = memory(house.pid)
        broker = memory(house.broker_pid)[0] if house.broker_pid else None
        told = "the kernel does not tell it"
        for key, title, value in (
            ("memory", "memory", now),
            ("memory_peak", "memory, most", most),
            ("memory_broker", "memory, broker", broker),
        ):
            number = None if value is None else value / _MEBI
            self._figure(key, title, number, "MB", told if value is None else "")

    def _figure(
        self, key: str, title: str, value: float | None, unit: str, missing: str = ""
    ) -> None:
        self._report.add(key, title, value, unit, _MEANINGS[key], missing)

    def _doubts(self) -> None:
        cores = os.cpu_count() or 1
        if self._busy > 0.3 * cores:
            self._report.notes.append(
                f"this machine was busy before (load {self._busy:.1f} on {cores} cores): what is "
                "shown may be worse than it can be"
            )
        self._report.notes.append(
            "publisher, broker and sink ran on this machine too and took their part of it: "
            "messages a second are what all of them reach together"
        )
        if self._disk.device:
            self._report.notes.append(
                "what the disk itself writes inside to store these bytes (its write amplification) "
                "cannot be seen from here"
            )


def _machine(disk: Disk, directory: Path) -> dict[str, object]:
    return {
        "model": raspberry.model(Path("/")),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": disk.kind,
        "disk": disk.source,
        "free": shutil.disk_usage(directory).free,
    }


def _setting(options: Options, directory: Path) -> dict[str, object]:
    return {
        "version": __version__,
        "directory": str(directory),
        "seconds": options.seconds,
        "rate": options.rate,
        "devices": options.devices,
        "values": 3,
        "qos": 1,
    }


@contextmanager
def _directory(parent: Path | None) -> Iterator[Path]:
    """A directory of our own, gone afterwards. Raises ConfigError."""
    try:
        directory = tempfile.mkdtemp(prefix="berrygate-bench-", dir=parent)
    except OSError as error:
        where = parent or tempfile.gettempdir()
        raise ConfigError(
            f"cannot make a directory in {where}: {error.strerror}",
            fix="name one that you may write to: --data-dir",
        ) from error
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Signals that end us end us in order, and a second Ctrl-C does not stop that."""

    def ended(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ended) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
