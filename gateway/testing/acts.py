"""What a thread does that reaches outside, or waits. Imports nothing of ours: a driver is imported
beside it in a process that is otherwise empty."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ACTS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname",
         "subprocess.Popen", "os.fork")  # fmt: skip
_HARMLESS = ("/dev/null", "/dev/urandom", "/dev/random")

_watching: dict[int, list[str]] = {}  # what was done, by the thread that is looked at
_hooked: list[bool] = []


@contextmanager
def acts() -> Iterator[list[str]]:
    """What this thread does meanwhile, in words."""
    if not _hooked:
        sys.addaudithook(_audit)  # for good: Python has no way to take one back
        _hooked.append(True)
    found = _watching[threading.get_ident()] = []
    try:
        yield found
    finally:
        del _watching[threading.get_ident()]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or (found := _watching.get(threading.get_ident())) is None:
        return
    if event in _ACTS:
        found.append(event)
    elif event == "open" and _is_device(str(arguments[0])):
        found.append(f"open {arguments[0]}")


def _is_device(path: str) -> bool:
    return path.startswith("/dev/") and path not in _HARMLESS
