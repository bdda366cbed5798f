"""A TCP connection that stays open: made, read, and made again when it was lost."""

import asyncio
import logging
import os
import random
from collections.abc import Callable
from contextlib import suppress

from gateway.core.errors import Unavailable

log = logging.getLogger(__name__)

_FIRST, _LONGEST = 0.2, 3.0  # pauses between two attempts to connect (s)
_PATIENCE = 5.0  # how long a connection may take to open (s)
_LASTING = 5.0  # a connection that was open for so long was well (s)
_CHUNK = 4_096


class TcpLine:
    """See the module. name: for the log. heard: called with what was read. lost: each time that a
    connection ends, with why. changed: with why nothing can be heard, or "".

    trouble: as given to `changed` last. path: who is connected, or "". opened: how often. up: set
    while connected. bytes: how many were read.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        heard: Callable[[bytes], None],
        lost: Callable[[str], None],
        changed: Callable[[str], None],
    ) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._tell = heard
        self._lost = lost
        self._changed = changed
        self._dropped = False
        self._since = 0.0  # when the connection opened (s, of the loop), 0: it did not
        self._writer: asyncio.StreamWriter | None = None
        self.trouble = "connecting"
        self.path = ""
        self.opened = 0
        self.bytes = 0
        self.up = asyncio.Event()

    async def run(self) -> None:
        """Keep connected until cancelled."""
        loop, pause = asyncio.get_running_loop(), _FIRST
        while True:
            self._since, self._dropped = 0.0, False
            reason = await self._once()
            # One that never opened was not well, however long it was tried: a host that is
            # switched off lets us wait, and says nothing.
            if self._since and (self._dropped or loop.time() - self._since > _LASTING):
                # Many servers close a connection that was not used for a while: that is no trouble
                # if it opens again at once.
                pause = _FIRST
                continue
            self._down(reason)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST)

    async def _once(self) -> str:
        """Connect, and read until the connection is lost; why it is."""
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            return f"{where} does not answer within {_PATIENCE:g} s"
        except OSError as error:
            return f"{where}: {_why(error)}"
        self._writer, reason = writer, "stopped"
        try:
            self._is_up(where)
            reason = await self._read(reader)
        finally:
            self._writer = None
            self.path = ""
            self.up.clear()
            writer.transport.abort()
            self._lost(reason)
        return reason

    async def _read(self, reader: asyncio.StreamReader) -> str:
        while True:
            try:
                data = await reader.read(_CHUNK)
            except OSError as error:
                return f"the connection was lost: {_why(error)}"
            if not data:
                return "the other side closed the connection"
            self.bytes += len(data)
            self._tell(data)

    def _is_up(self, where: str) -> None:
        self._since = asyncio.get_running_loop().time()
        self.path, self.opened = where, self.opened + 1
        if self.trouble and self.trouble != "connecting":
            log.warning("device %s: connected to %s again", self._name, where)
        self.trouble = ""
        self._changed("")
        self.up.set()

    def _down(self, reason: str) -> None:
        if reason != self.trouble:
            log.warning("device %s: %s", self._name, reason)
            self.trouble = reason
            self._changed(reason)

    async def write(self, data: bytes, timeout: float) -> None:
        """Send. Raises Unavailable."""
        writer = self._writer
        if writer is None:
            raise Unavailable(self.trouble or "the connection was lost")
        try:
            writer.write(data)
            async with asyncio.timeout(timeout):
                await writer.drain()
        except TimeoutError:
            raise Unavailable("the other side reads nothing") from None
        except OSError as error:
            raise Unavailable(f"the connection was lost: {_why(error)}") from None

    def drop(self) -> None:
        """Connect anew: the connection may be dead without anybody having said so."""
        if self._writer is not None:
            self._dropped = True
            self._writer.transport.abort()


def _why(error: OSError) -> str:
    """For people."""
    with suppress(ValueError, OverflowError):
        if error.errno and error.errno > 0:
            return os.strerror(error.errno)
    return error.strerror or str(error)
