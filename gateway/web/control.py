"""The control socket: what the command line asks the running gateway.

One JSON object a line. Request: {"call": "status", "args": {...}}. Answer: {"ok": ...} or
{"error": {"type", "message", "fix"}}, type being `usage`, `unknown`, `denied` or `failed`. The
call `tail` answers {"ok": null} and then {"next": reading} a line until the client hangs up;
`export` and `import` move bytes as well (see streams.py).
Who may ask is told by the kernel (SO_PEERCRED, see unix(7)), not by a password.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.web.house import House
from gateway.web.lines import CallError, failure
from gateway.web.sockets import listen, may_ask

if TYPE_CHECKING:
    from gateway.web.dialogue import Dialogue

_MAX_REQUEST = 64 * 1024
_MAX_CLIENTS = 64
_IDLE = 60.0  # a client that says nothing for so long is let go (s)


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
        self._dialogue: Dialogue | None = None
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
            writer.write(failure(CallError("failed", "too many clients of the control socket")))
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="control")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not may_ask(writer.get_extra_info("socket")):
                fix = "run this as root, as the gateway's user, or as a member of its group"
                writer.write(failure(CallError("denied", "you may not control this gateway", fix)))
                return
            while asked := await _request(reader, writer):
                if self._dialogue is None:
                    self._dialogue = await asyncio.to_thread(_dialogue, self._house)
                await self._dialogue.answer(asked, reader, writer)
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            return  # the client is gone, or asks nothing: nobody misses the answer
        finally:
            writer.close()


def _dialogue(house: House) -> "Dialogue":
    from gateway.web.dialogue import Dialogue

    return Dialogue(house)


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The next line; nothing at the end."""
    try:
        async with asyncio.timeout(_IDLE):
            return await reader.readline()
    except ValueError:  # too long; where the next line begins is not known, so this was the last
        writer.write(failure(CallError("usage", f"a request has at most {_MAX_REQUEST} bytes")))
        return b""
