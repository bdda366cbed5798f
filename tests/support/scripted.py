"""A peer that says what a test tells it to, for what no real broker can be made to say."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

CONNACK = {"5": b"\x20\x03\x00\x00\x00", "3.1.1": b"\x20\x02\x00\x00"}
SUBACK = {"5": b"\x90\x04\x00\x01\x00\x01", "3.1.1": b"\x90\x03\x00\x01\x01"}
"""Acceptance of one subscription with packet id 1, QoS 1."""


class Scripted:
    """Answers each read of each connection with the next of `lines`, then keeps listening.

    heard: what each connection sent, whole. hang_up: close soon after everything was said.
    """

    def __init__(self, lines: Sequence[bytes], hang_up: bool = False) -> None:
        self.heard: list[bytes] = []
        self._lines = lines
        self._hang_up = hang_up
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections and end those there are."""
        for each in (self._server, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._open.append(client)
                self.heard.append(b"")
                threading.Thread(
                    target=self._talk, args=(client, len(self.heard) - 1), daemon=True
                ).start()

    def _talk(self, client: socket.socket, number: int) -> None:
        lines = list(self._lines)
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                self.heard[number] += data
                if lines:
                    client.sendall(lines.pop(0))
                if self._hang_up and not lines:
                    time.sleep(0.1)
                    break
        client.close()


@contextmanager
def scripted(*lines: bytes, hang_up: bool = False) -> Iterator[Scripted]:
    """A running one."""
    found = Scripted(lines, hang_up)
    try:
        yield found
    finally:
        found.stop()
