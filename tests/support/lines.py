"""A TCP server that takes lines and says `ok` to each, and a bridge that writes readings to it."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import Rejected, Unavailable

Conn = tuple[StreamReader, StreamWriter]


class LineServer:
    """It can be stopped and started again on its port. open: connections at the moment; most: the
    highest number of them; accepted: all there were. delay: how long an answer takes (s). lines:
    what was taken."""

    def __init__(self) -> None:
        self.port = 0
        self.delay = 0.0
        self.open = self.most = self.accepted = 0
        self.lines: list[str] = []
        self._server: asyncio.Server | None = None
        self._gone = asyncio.Event()
        self._writers: set[StreamWriter] = set()

    async def start(self) -> "LineServer":
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Refuse new connections, and end those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.hang_up()

    async def hang_up(self) -> None:
        """End every connection."""
        self._gone.set()
        for writer in self._writers:
            writer.transport.abort()
        async with asyncio.timeout(5):
            while self.open:
                await asyncio.sleep(0.001)
        self._gone.clear()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        self.most = max(self.most, self.open)
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                if self.delay:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._gone.wait(), self.delay)
                if line.strip():  # an empty one only asks whether somebody is there
                    self.lines.append(line.decode().strip())
                writer.write(b"no\n" if line.startswith(b"bad") else b"ok\n")
                await writer.drain()
        except OSError:
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()


class LineBridge:
    """Each reading's device is a line."""

    def __init__(self, *ports: int) -> None:
        self.name = "lines"
        self.endpoints: Sequence[str] = tuple(map(str, ports))
        self._kept: list[Any] = []

    def connect(self, endpoint: str = "") -> AbstractAsyncContextManager[Conn]:
        found = self._connect(endpoint)
        self._kept.append(found)  # or what nobody closes would be closed as garbage
        return found

    @asynccontextmanager
    async def _connect(self, endpoint: str) -> AsyncIterator[Conn]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(endpoint))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def send(self, conn: Conn, batch: Batch) -> None:
        for reading in batch.readings:
            if await self._ask(conn, reading.device) != b"ok\n":
                raise Rejected("the server does not like it")

    async def _ask(self, conn: Conn, text: str) -> bytes:
        reader, writer = conn
        writer.write(f"{text}\n".encode())
        await writer.drain()
        answer = await reader.readline()
        if not answer:
            raise Unavailable("the server closed the connection")
        return answer


class CheckedBridge(LineBridge):
    """The same, whose connections can be looked at."""

    checks = 0

    async def check(self, conn: Conn) -> None:
        self.checks += 1
        await self._ask(conn, "")


def line(text: str = "soil") -> Batch:
    """A batch of one line."""
    return Batch(0, 0, [Reading(text, 1, {"t": 1.0})])
