"""Messages to systemd about our state (sd_notify(3))."""

import os
import socket


def notify(state: str) -> None:
    """Send e.g. `READY=1` or `STOPPING=1`; nothing where no service manager asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect(address)
        connection.sendall(state.encode())
