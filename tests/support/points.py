"""Stops a gateway at a chosen system call: between receive, commit, acknowledge and send.

strace counts the calls of one kind on chosen sockets and files, and at the nth one sends a
signal. SIGKILL comes before the call is made, SIGSTOP after it: then everything of the gateway
stands still until somebody kills it or lets it go on (strace(1), "tampering").
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Ports:
    """By which its connections are told: of the broker its source talks to, and of the sink."""

    source: int
    sink: int


Paths = Callable[[int, Ports], list[str]]


@dataclass(frozen=True)
class Point:
    """A place in the work of the gateway. most: how many such calls are passed at most before it
    stops; a second brings more than that."""

    name: str
    call: str
    paths: Paths
    most: int


def _connections(pid: int, port: int) -> list[str]:
    return [
        str(Path(f"/proc/{pid}/fd/{connection.fd}").readlink())
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.raddr and connection.raddr.port == port
    ]


def _source(pid: int, ports: Ports) -> list[str]:
    return _connections(pid, ports.source)


def _sink(pid: int, ports: Ports) -> list[str]:
    return _connections(pid, ports.sink)


def _threads(pid: int, ports: Ports) -> list[str]:
    """The pair of sockets by which one thread wakes another's event loop."""
    return [
        str(Path(f"/proc/{pid}/fd/{connection.fd}").readlink())
        for connection in psutil.Process(pid).net_connections("unix")
        if not connection.laddr
    ]


def _files(ending: str) -> Paths:
    def found(pid: int, ports: Ports) -> list[str]:
        names = (file.path for file in psutil.Process(pid).open_files())
        return sorted({name for name in names if name.endswith(ending)})

    return found


POINTS = (
    Point("receive", "recvfrom", _source, 40),
    Point("hand over", "sendto", _threads, 30),
    Point("write", "pwrite64", _files(".seg"), 5),
    Point("sync", "fdatasync", _files(".seg"), 5),
    Point("acknowledge", "sendto", _source, 40),
    Point("send", "sendto", _sink, 4),
    Point("answer", "recvfrom", _sink, 4),
    Point("history", "pwrite64", _files("history.db-wal"), 4),
)
"""In the order in which a message passes them."""


class Stop:
    """A stop that was asked for. hit: whether it came."""

    def __init__(self, log: Path, process: subprocess.Popen[bytes]) -> None:
        self._log = log
        self._process = process

    def wait(self, timeout: float) -> bool:
        """Whether the gateway was killed or stands still; False if it did not get there in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.hit:
                return True
            time.sleep(0.002)
        return self.hit

    @property
    def hit(self) -> bool:
        """Whether it has happened."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "stopped by SIGSTOP" in text or "killed by SIGKILL" in text


@contextmanager
def stopping(
    pid: int, point: Point, count: int, ports: Ports, log: Path, how: str
) -> Iterator[Stop]:
    """Let it stop at the `count`th call of a thread at `point`. how: SIGSTOP or SIGKILL."""
    paths = [argument for path in point.paths(pid, ports) for argument in ("-P", path)]
    assert paths, f"nothing to see of {point.name}"
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        ["strace", "-f", "-o", str(log), *paths, "-e", f"trace={point.call}",
         "-e", f"inject={point.call}:signal={how}:when={count}", "-p", str(pid)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Stop(log, process)
    finally:
        process.terminate()
        process.wait()
