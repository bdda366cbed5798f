"""The control socket: what the command line asks the running gateway.

One JSON object a line. Request: {"call": "status", "args": {...}}. Answer: {"ok": ...} or
{"error": {"type", "message", "fix"}}, type being `usage`, `unknown`, `denied` or `failed`. The
call `tail` answers {"ok": null} and then {"next": reading} a line until the client hangs up;
`export` and `import` move bytes as well (see streams.py).
Who may ask is told by the kernel (SO_PEERCRED, see unix(7)), not by a password.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.core.contracts import Flag, Reading
from gateway.web.calls import CallError, arguments, calls, parse, perform
from gateway.web.house import House
from gateway.web.params import TailParams
from gateway.web.sockets import listen, may_ask
from gateway.web.streams import line, send_export, take_import

log = logging.getLogger(__name__)

_MAX_REQUEST = 64 * 1024
_MAX_CLIENTS = 64
_IDLE = 60.0  # a client that says nothing for so long is let go (s)


def reading_as_dict(reading: Reading) -> dict[str, Any]:
    """A reading for people and scripts; time in epoch ms."""
    flags = reading.flags
    return {
        "device": reading.device,
        "time": reading.time // 1_000_000,
        "values": reading.values,
        "clock": "unsynced" if flags & Flag.UNSYNCED else "synced",
        "late": bool(flags & Flag.LATE),
        "historical": bool(flags & Flag.HISTORICAL),
    }


async def serve(house: House, paths: Sequence[Path]) -> None:
    """Serve until cancelled. Raises ConfigError where a socket cannot be made."""
    async with serving(house, paths):
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def serving(house: House, paths: Sequence[Path]) -> AsyncIterator[None]:
    """Answers on sockets at `paths` (see `socket_paths`) while inside; they are gone afterwards.

    Raises ConfigError where a socket cannot be made.
    """
    control = Control(house)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(control.close)
        for path in paths:
            listener = listen(path)
            stack.callback(path.unlink, missing_ok=True)
            server = await asyncio.start_unix_server(
                control.client, sock=listener, limit=_MAX_REQUEST
            )
            stack.callback(server.close)
        yield


class Control:
    """Serves the clients of the control sockets."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._calls = calls(house)
        self._clients: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Let go of all clients."""
        for task in self._clients:
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients)

    def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        if len(self._clients) >= _MAX_CLIENTS:
            writer.write(_failure(CallError("failed", "too many clients of the control socket")))
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="control")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not may_ask(writer.get_extra_info("socket")):
                fix = "run this as root, as the gateway's user, or as a member of its group"
                writer.write(_failure(CallError("denied", "you may not control this gateway", fix)))
                return
            while asked := await _request(reader, writer):
                await self._answer(asked, reader, writer)
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            return  # the client is gone, or asks nothing: nobody misses the answer
        finally:
            writer.close()

    async def _answer(
        self, asked: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            request = parse(asked)
            if request.call == "tail":
                pattern = arguments(TailParams, request.args).filter
                await _until_eof(reader, self._tail(pattern, writer))
            elif request.call == "export":
                await _until_eof(reader, send_export(self._house, request.args, writer))
            elif request.call == "import":
                await take_import(self._house, request.args, reader, writer)
            else:
                writer.write(line({"ok": await perform(self._calls, request)}))
        except CallError as error:
            writer.write(_failure(error))

    async def _tail(self, pattern: str, writer: asyncio.StreamWriter) -> None:
        writer.write(line({"ok": None}))
        async with aclosing(self._house.tail(pattern)) as bursts:  # type: ignore[type-var]
            async for readings in bursts:
                writer.writelines(line({"next": reading_as_dict(each)}) for each in readings)
                await writer.drain()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The next line; nothing at the end."""
    try:
        async with asyncio.timeout(_IDLE):
            return await reader.readline()
    except ValueError:  # too long; where the next line begins is not known, so this was the last
        writer.write(_failure(CallError("usage", f"a request has at most {_MAX_REQUEST} bytes")))
        return b""


async def _until_eof(reader: asyncio.StreamReader, stream: Coroutine[Any, Any, None]) -> None:
    """Await `stream` until it ends or the client hangs up."""
    streaming = asyncio.create_task(stream)
    closed = asyncio.create_task(_drained(reader))
    try:
        await asyncio.wait([streaming, closed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
        streaming.cancel()
        await asyncio.wait([streaming, closed])
    if not streaming.cancelled():
        streaming.result()


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(_MAX_REQUEST):
        pass


def _failure(error: CallError) -> bytes:
    return line({"error": {"type": error.kind, "message": str(error), "fix": error.fix}})
