"""A serial port that stays open: found, opened, read in frames, and opened again when it was
unplugged, also under another name.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.core.errors import Denied, Unavailable
from gateway.io.blocking import Blocking
from gateway.io.serial.framing import Framing, Piece
from gateway.io.serial.names import Adapter, find, known_as
from gateway.io.serial.port import OpenPort, PortOptions, open_port

log = logging.getLogger(__name__)

_FIRST, _LONGEST = 0.2, 3.0  # pauses between two attempts to open the port (s)
_LASTING = 5.0  # a port that was open for so long was well (s)
_MIDWAY = 0.05  # what comes so soon after opening may have begun before (s)


class Line:
    """See the module. name: for the log. port: as configured. quiet: how much silence means
    something to the framing (s), 0 for none. heard: called with what the framing found. changed:
    with why nothing can be heard, or "", and whether a person must act first. root: where the file
    system begins; another one in tests.

    trouble: as given to `changed` last. path: the port in use, or "". adapter: what is known of
    it. opened: how often a port was.
    """

    def __init__(
        self,
        name: str,
        port: str,
        options: PortOptions,
        framing: Framing,
        quiet: float,
        heard: Callable[[Sequence[Piece]], None],
        changed: Callable[[str, bool], None],
        root: Path = Path("/"),
    ) -> None:
        self._name = name
        self._wanted = port
        self._options = options
        self._framing = framing
        self._quiet = quiet
        self._tell = heard
        self._changed = changed
        self._root = root
        self._threads = Blocking(f"serial-{name}")
        self._port: OpenPort | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._held = False
        self.trouble = "connecting"
        self.path = ""
        self.adapter: Adapter | None = None
        self.opened = 0
        self.bytes = 0
        self.up = asyncio.Event()

    async def run(self) -> None:
        """Keep the port open until cancelled. Raises ConfigError for settings that it cannot
        have."""
        loop, pause = asyncio.get_running_loop(), _FIRST
        while True:
            since = loop.time()
            try:
                await self._once()
            except (Unavailable, Denied) as error:
                self._down(error)
            if loop.time() - since > _LASTING:
                pause = _FIRST
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST)

    async def _once(self) -> None:
        """Open the port and wait for its end. Raises Unavailable or Denied, always."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        path = find(self._wanted, self.adapter, self._root)
        self._port = await open_port(
            path, self._options, self._threads, self._heard, lambda why: _settle(ended, why)
        )
        try:
            self._is_up(path)
            raise Unavailable(await ended)
        finally:
            port, self._port = self._port, None
            self.up.clear()
            self.path = ""
            self._no_timer()
            if rest := self._framing.lost():
                self._tell(rest)
            await port.close()

    def _is_up(self, path: str) -> None:
        self.path, self.opened = path, self.opened + 1
        self._began = asyncio.get_running_loop().time()
        self.adapter = known_as(path, self._root) or self.adapter
        if self._held and self._port is not None:
            self._port.hold()
        if self.trouble != "connecting":
            log.warning("device %s: %s is open again", self._name, path)
        self.trouble = ""
        self._changed("", False)
        self.up.set()

    def _down(self, error: Unavailable | Denied) -> None:
        reason = str(error)
        if reason == self.trouble:
            return
        log.warning("device %s: %s%s", self._name, reason, f" ({error.fix})" if error.fix else "")
        self.trouble = reason
        self._changed(reason, isinstance(error, Denied))

    # -- reading ----------------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if self._began and now - self._began < _MIDWAY:
            self._framing.midway()
        self._began = 0.0
        self.bytes += len(data)
        if pieces := self._framing.feed(data):
            self._tell(pieces)
        self._no_timer()
        if self._quiet and self._framing.waiting:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(self._quiet, self._is_quiet)

    def _is_quiet(self) -> None:
        self._silence = None
        # It may only seem so: where the loop was held up, what came waits to be read.
        if self._port is not None and self._port.look():
            return
        if pieces := self._framing.idle():
            self._tell(pieces)

    def _no_timer(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def hold(self, held: bool) -> None:
        """Stop reading, so that flow control stops the sender; or go on."""
        if self._held == held:
            return
        self._held = held
        if self._port is not None:
            if held:
                self._port.hold()
            else:
                self._port.go_on()

    # -- writing ----------------------------------------------------------------------------

    async def write(self, data: bytes, timeout: float) -> None:
        """Send. Raises Unavailable."""
        if self._port is None:
            raise Unavailable(self.trouble or "the port is gone")
        await self._port.write(data, timeout)

    def forget(self) -> None:
        """Forget what has come and is no frame yet; what comes next begins one."""
        self._began = 0.0
        if self._port is not None:
            self._port.drop_input()
        self._framing.lost()


def _settle(future: "asyncio.Future[str]", value: str) -> None:
    if not future.done():
        future.set_result(value)
