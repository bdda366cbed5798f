"""Processes of a run: started so that none outlives it, and what the kernel says of each."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.core.errors import BerrygateError

_PR_SET_PDEATHSIG = 1  # prctl(2)
_STOP = 20.0  # s
_START = 30.0  # s
_OURS = ("BERRYGATE_", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "JOURNAL_STREAM", "WATCHDOG_")


def environment(**more: str) -> dict[str, str]:
    """Of our processes: nothing of a service that we may be run from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | more


@contextmanager
def program(module: str, *arguments: str, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python module as a process; ended at the end, and by the kernel if we are killed."""
    prctl = ctypes.CDLL(None).prctl

    def ends_with_us() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    with ExitStack() as stack:
        with _uninterrupted():
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=options.pop("env", environment()),
                start_new_session=True,  # Ctrl-C is for us; we end the others in order
                preexec_fn=ends_with_us,
                **options,
            )
            stack.callback(end, process)
        yield process


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the end: of a process that was being started when they came
    nobody would know."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and SIGKILL if that is not enough."""
    process.terminate()
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Return once somebody listens. Raises BerrygateError."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise BerrygateError(f"a part of the benchmark did not start (port {port})")


def cpu(pid: int) -> float:
    """User and system time of all threads of a process so far, also those that have ended (s). Its
    clock's id is made as clock_getcpuclockid(3) makes it. 0 where there is no such process."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def memory(pid: int) -> tuple[float | None, float | None]:
    """Resident bytes of a process now and at most; proc_pid_status(5)."""
    found = _fields(Path(f"/proc/{pid}/status"))
    now, most = (found.get(name, "").removesuffix(" kB") for name in ("VmRSS", "VmHWM"))
    return (float(now) * 1024 if now else None), (float(most) * 1024 if most else None)


def written(pid: int) -> int | None:
    """Bytes a process has caused to be written to disks; None where the kernel does not tell
    (proc_pid_io(5))."""
    found = _fields(Path(f"/proc/{pid}/io")).get("write_bytes")
    return int(found) if found is not None else None


def _fields(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
