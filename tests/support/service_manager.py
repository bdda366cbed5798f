"""The other end of NOTIFY_SOCKET: hears what a service tells its manager (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Manager:
    """A real datagram socket. said: (monotonic time, message), in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def environment(self, watchdog: float) -> dict[str, str]:
        """What a service gets; watchdog: its time (s)."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(watchdog * 1e6))}

    def listen(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take what comes for so long, or until it is enough."""
        deadline = time.monotonic() + seconds
        while not until() and (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(min(left, 0.2))
            try:
                message = self._socket.recv(65_536).decode()
            except TimeoutError:
                continue
            self.said.append((time.monotonic(), message))

    def fed(self) -> list[float]:
        """When the watchdog was fed."""
        return [when for when, message in self.said if "WATCHDOG=1" in message.splitlines()]

    def heard(self, start: str) -> list[str]:
        """Every line said so far that begins so."""
        lines = (line for _, message in self.said for line in message.splitlines())
        return [line for line in lines if line.startswith(start)]

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@contextmanager
def service_manager(directory: Path) -> Iterator[Manager]:
    """One that listens. Its variables are in this process's environment while inside, and so in
    that of the gateways that are started from it."""
    directory.mkdir(parents=True, exist_ok=True)
    found = Manager(directory / "notify")
    try:
        yield found
    finally:
        found.close()


@contextmanager
def asked(**environ: str) -> Iterator[None]:
    """These variables in the environment of what is started meanwhile."""
    before = {name: os.environ.get(name) for name in environ}
    os.environ.update(environ)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
