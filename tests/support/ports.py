"""Free loopback ports, and waiting for something to listen on one."""

import contextlib
import random
import socket
import subprocess
import time


def free_port() -> int:
    """A port nobody has at the moment, and that the kernel gives to nobody who asks for any: it
    is free until a server of the test is started on it, perhaps again and again."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once somebody listens. Raises TimeoutError, or RuntimeError if `process` ends."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        time.sleep(0.01)
    raise TimeoutError(f"nobody listens on {port}")


def end(process: subprocess.Popen[bytes], timeout: float = 10) -> None:
    """SIGTERM, and SIGKILL if that is not enough."""
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
