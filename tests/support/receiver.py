"""An HTTP server in a process of its own that keeps what is posted to it; what is posted to
`/slow/SECONDS` it takes and answers after so long."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import end, free_port

_SERVER = """
import http.server, sys, os, time
port, out = int(sys.argv[1]), open(sys.argv[2], "ab", buffering=0)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/redirect/"):
            self.send_response(307)
            self.send_header("Location", "http://" + self.path.split("/", 2)[2])
        elif os.path.exists(sys.argv[2] + ".refuse"):
            self.send_response(503)
        else:
            time.sleep(float(self.path.partition("/slow/")[2] or 0))
            out.write(body.replace(b"\\n", b" ") + b"\\n")
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer((sys.argv[3], port), Handler).serve_forever()
"""


class Receiver:
    """See the module. It answers 503 while it is told to refuse."""

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.host = host
        self.url = f"json://{host}:{self.port}/"
        self._file = directory / "received"
        self._refuse = directory / "received.refuse"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Receiver":
        """Start and wait until it answers."""
        arguments = [str(self.port), str(self._file), self.host]
        self.process = subprocess.Popen([sys.executable, "-c", _SERVER, *arguments])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return self
            time.sleep(0.01)
        raise TimeoutError(f"nobody listens on {self.host}:{self.port}")

    def stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def refuse(self, refusing: bool = True) -> None:
        """Answer 503 from now on, or no more."""
        if refusing:
            self._refuse.touch()
        else:
            self._refuse.unlink(missing_ok=True)

    @property
    def received(self) -> list[dict[str, Any]]:
        """What came, in order; of Apprise: version, title, message, type."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text().splitlines()]

    def wait(self, count: int, timeout: float = 30) -> list[dict[str, Any]]:
        """What came, once it is so many. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"only {self.received}"
            time.sleep(0.02)
        return self.received


@contextmanager
def receiver(directory: Path) -> Iterator[Receiver]:
    """A running one."""
    found = Receiver(directory).start()
    try:
        yield found
    finally:
        found.stop()
