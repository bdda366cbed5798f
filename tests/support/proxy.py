"""A TCP proxy that a test can slow, and cut, also in the middle of a packet."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Forwards connections to a port. limit: bytes towards the client after which each connection
    is cut; None: never. delay: seconds that each piece of data is kept, in both directions."""

    def __init__(self, target: int) -> None:
        self.limit: int | None = None
        self.delay = 0.0
        self.connections = 0
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection at once."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Take no more connections."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._target), 5)
                there.settimeout(None)
            except OSError:  # the target is down for now
                client.close()
                continue
            self.connections += 1
            self._open += [client, there]
            for source, target, limited in ((client, there, False), (there, client, True)):
                threading.Thread(
                    target=self._forward, args=(source, target, limited), daemon=True
                ).start()

    def _forward(self, source: socket.socket, target: socket.socket, limited: bool) -> None:
        limit = self.limit if limited else None
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self.delay:
                    time.sleep(self.delay)
                if limit is not None and sent + len(data) > limit:
                    target.sendall(data[: limit - sent])
                    break
                target.sendall(data)
                sent += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A running proxy."""
    found = Proxy(target)
    try:
        yield found
    finally:
        found.stop()
