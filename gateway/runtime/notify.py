"""Messages to systemd about our state (sd_notify(3))."""

import logging
import os
import socket
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_EVERY = 5.0  # seconds between two messages that we get on
_MORE = 60  # seconds that each of them asks for


def notify(*states: str) -> None:
    """Send e.g. `READY=1` or `STOPPING=1`; nothing where no service manager asked for it. Never
    raises and never waits: a service manager that does not listen must not stop what we do."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        with socket.socket(socket.AF_UNIX, kind) as connection:
            connection.connect(address)
            connection.sendall("\n".join(states).encode())
    except OSError as error:
        log.debug("the service manager does not take %s: %s", states, error)


def getting_on() -> Callable[[str], None]:
    """To be called, with what is being done, whenever a start that may take long has got on: asks
    the service manager for more time, at most every five seconds. A start that hangs asks for
    none, and is ended after TimeoutStartSec=."""
    asked = [-_EVERY]

    def progress(doing: str) -> None:
        now = time.monotonic()
        if now - asked[0] >= _EVERY:
            asked[0] = now
            notify(f"EXTEND_TIMEOUT_USEC={_MORE * 1_000_000}", f"STATUS=starting: {doing}")

    return progress
