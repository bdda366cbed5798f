"""A real Redis in a directory of its own, on loopback, with TLS and a password; and a bridge to it
that speaks its protocol itself."""

import asyncio
import shutil
import ssl
import subprocess
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from gateway.core.contracts import Batch
from gateway.core.errors import Denied, Rejected, Unavailable
from tests.support.certificates import certificates
from tests.support.ports import end, free_port, wait_for_port

PASSWORD = "sesame"

Conn = tuple[StreamReader, StreamWriter]


class Redis:
    """A server that can be stopped and started again with its data. ca_file: who signed its
    certificate."""

    def __init__(self, directory: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("Redis is not installed (Debian: redis-server)")
        directory.mkdir(parents=True, exist_ok=True)
        certificates(directory)
        self.port = free_port()
        self.ca_file = directory / "ca.crt"
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [
            binary, "--bind", "127.0.0.1", "--port", "0", "--tls-port", str(self.port),
            "--tls-cert-file", f"{directory}/server.crt", "--tls-key-file",
            f"{directory}/server.key", "--tls-auth-clients", "no", "--requirepass", PASSWORD,
            "--dir", str(directory), "--appendonly", "yes", "--appendfsync", "no",
            "--maxmemory-policy", "noeviction",
        ]  # fmt: skip

    def start(self) -> "Redis":
        """Start and wait until it answers."""
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self.process)
        return self

    def stop(self) -> None:
        """It writes down what it has, and ends every connection."""
        if self.process is not None:
            end(self.process)
            self.process = None


@contextmanager
def redis(directory: Path) -> Iterator[Redis]:
    """A running one."""
    server = Redis(directory).start()
    try:
        yield server
    finally:
        server.stop()


class RedisBridge:
    """Readings into the stream `readings`, at servers that are reached by their ports."""

    def __init__(self, ca_file: Path, ports: Sequence[int], password: str = PASSWORD) -> None:
        self.name = "redis"
        self.endpoints = tuple(map(str, ports))
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._password = password

    @asynccontextmanager
    async def connect(self, endpoint: str = "") -> AsyncIterator[Conn]:
        port = int(endpoint or self.endpoints[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self._tls)
        try:
            await asked((reader, writer), ("AUTH", self._password))
            yield reader, writer
        finally:
            writer.close()

    async def send(self, conn: Conn, batch: Batch) -> None:
        commands = [
            ("XADD", "readings", "*", "device", each.device, "time", str(each.time),
             *(str(part) for pair in each.values.items() for part in pair))
            for each in batch.readings
        ]  # fmt: skip
        await asked(conn, *commands)

    async def check(self, conn: Conn) -> None:
        await asked(conn, ("PING",))


async def asked(conn: Conn, *commands: Sequence[str]) -> list[str]:
    """What it answers to each, without the mark of its kind. Raises Unavailable, Denied,
    Rejected."""
    try:
        return await _asked(conn, commands)
    except (OSError, EOFError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


async def _asked(conn: Conn, commands: Sequence[Sequence[str]]) -> list[str]:
    reader, writer = conn
    for command in commands:
        parts = [part.encode() for part in command]
        writer.write(b"*%d\r\n" % len(parts))
        writer.writelines(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    await writer.drain()
    return [await _answer(reader) for _ in commands]


async def _answer(reader: StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        raise Unavailable("the server has ended the connection")
    kind, text = line[:1], line[1:-2].decode()
    if kind == b"$":
        return (await reader.readexactly(int(text) + 2))[:-2].decode()
    if kind != b"-":
        return text
    word = text.partition(" ")[0]
    if word in ("WRONGPASS", "NOAUTH", "NOPERM"):
        raise Denied(text)
    if word in ("LOADING", "OOM", "BUSY", "MASTERDOWN"):
        raise Unavailable(text)
    raise Rejected(text)
