"""A TCP proxy that a test can slow, starve, garble, and cut, also in the middle of a packet."""

import contextlib
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PIECE = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Trouble:
    """What is done to what passes while it is set; by default nothing.

    delay: seconds that each piece of data is kept, in both directions. rate: bytes a second, in
    each direction of each connection. refuse: each new connection is reset at once. swallow:
    nothing passes. noise: what the client gets is replaced by chance. request, answer: so many
    bytes of each piece in that direction pass, then the connection ends. reply: what each HTTP
    request is answered with, without asking the target.
    """

    delay: float = 0.0
    rate: float | None = None
    refuse: bool = False
    swallow: bool = False
    noise: bool = False
    request: int | None = None
    answer: int | None = None
    reply: bytes | None = None


class Proxy:
    """Forwards connections to a port. limit: bytes towards the client after which each connection
    is cut; None: never. delay: seconds that each piece of data is kept, in both directions.
    trouble: more of that kind, which can be changed while connections last."""

    def __init__(self, target: int) -> None:
        self.limit: int | None = None
        self.delay = 0.0
        self.trouble = Trouble()
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

    def reset(self) -> None:
        """End every connection at once, with a reset instead of a farewell."""
        while self._open:
            with contextlib.suppress(OSError):
                each = self._open.pop()
                _linger_not(each)
                each.shutdown(socket.SHUT_RD)  # who reads it wakes up, and closes it

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
            if self.trouble.refuse:
                _linger_not(client)
                client.close()
                continue
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
        asked = b""
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                trouble = self.trouble
                time.sleep(self.delay + trouble.delay)
                if trouble.rate:
                    time.sleep(len(data) / trouble.rate)
                if trouble.swallow:
                    continue
                if trouble.reply is not None and not limited:
                    asked = _answered(source, asked + data, trouble.reply)
                    continue
                if limit is not None and sent + len(data) > limit:
                    target.sendall(data[: limit - sent])
                    break
                most = trouble.answer if limited else trouble.request
                if limited and trouble.noise:
                    data = random.randbytes(len(data))
                target.sendall(data[:most])
                if most is not None:
                    break
                sent += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                if _lingers(end):
                    end.shutdown(socket.SHUT_RDWR)
                else:
                    end.close()


def _answered(client: socket.socket, asked: bytes, reply: bytes) -> bytes:
    """Answer a request once it is whole; what is left of it otherwise."""
    head, found, body = asked.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if not found or len(body) < int(length[1] if length else 0):
        return asked
    client.sendall(reply)
    return b""


def _linger_not(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _lingers(end: socket.socket) -> bool:
    option = end.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    return struct.unpack("ii", option)[0] == 0


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A running proxy."""
    found = Proxy(target)
    try:
        yield found
    finally:
        found.stop()
