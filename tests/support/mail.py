"""A mail server in a process of its own that keeps what it is sent."""

import email
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

from tests.support.ports import end, free_port, wait_for_port

_SERVER = """
import asyncio, sys
from pathlib import Path
from aiosmtpd.smtp import SMTP

class Handler:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        whole = Path(sys.argv[2], f"{self.count}.part")
        whole.write_bytes(envelope.content)
        whole.rename(Path(sys.argv[2], f"{self.count}.eml"))
        return "250 taken"

async def main():
    handler = Handler()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


class MailServer:
    """See the module."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"mailto://127.0.0.1:{self.port}?from=gateway@example.com&to=me@example.com"
        self._directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "MailServer":
        """Start and wait until it answers."""
        arguments = [str(self.port), str(self._directory)]
        self.process = subprocess.Popen([sys.executable, "-c", _SERVER, *arguments])
        wait_for_port(self.port, self.process)
        return self

    def stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            end(self.process)

    @property
    def received(self) -> list[Message]:
        """The mails, in order."""
        files = sorted(self._directory.glob("*.eml"), key=lambda file: int(file.stem))
        return [email.message_from_bytes(file.read_bytes()) for file in files]

    def wait(self, count: int, timeout: float = 30) -> list[Message]:
        """The mails, once there are so many. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"only {len(self.received)} mails"
            time.sleep(0.02)
        return self.received


@contextmanager
def mail_server(directory: Path) -> Iterator[MailServer]:
    """A running one."""
    found = MailServer(directory).start()
    try:
        yield found
    finally:
        found.stop()
