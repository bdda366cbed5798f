"""Makes a system call of a running process hang, as a dying card or a broken driver does."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HOUR = 3_600_000_000


@contextmanager
def hanging(pid: int, call: str, path: Path | None = None, threads: bool = True) -> Iterator[None]:
    """Each `call` (of files at `path`) takes an hour from now on, until the block ends.

    With `threads` in every thread of the process, else in its main thread only.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    command = [strace, "-q", *(["-f"] if threads else []), "-p", str(pid), "-o", "/dev/null"]
    command += [*(["-P", str(path)] if path else []), "-e", f"trace={call}"]
    process = subprocess.Popen(
        [*command, "-e", f"inject={call}:delay_enter={HOUR}"], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 10
    while not traced(pid):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            assert process.stderr is not None
            pytest.skip(f"cannot trace: {process.stderr.read().decode().strip()}")
        time.sleep(0.02)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)  # at SIGTERM it would wait for the hour to pass
        process.wait()


def traced(pid: int) -> bool:
    """Whether somebody traces it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0" not in status
