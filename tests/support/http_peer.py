"""An HTTP server that answers what a test tells it to, on plain sockets or TLS."""

import gzip
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request. body: as it was before compression."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Said:
    """An answer."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Peer:
    """Answers each request with what `answer` makes of it. connections: how many there were."""

    def __init__(self, answer: Callable[[Asked], Said], context: ssl.SSLContext | None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                peer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                asked = Asked(self.path, dict(self.headers), body)
                peer.asked.append(asked)
                said = answer(asked)
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def http_peer(
    answer: Callable[[Asked], Said], context: ssl.SSLContext | None = None
) -> Iterator[Peer]:
    """A running one."""
    peer = Peer(answer, context)
    try:
        yield peer
    finally:
        peer.stop()
