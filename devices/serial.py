"""Devices on a serial port: what they say by themselves, what they answer, what they can be told.

Frames are found in what comes and decoded by the codec. A port that is unplugged is opened again
when it is back, also under another name.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from gateway.codecs.json import JsonSettings
from gateway.core.commands import Schema
from gateway.core.contracts import Burst, Command, Context, Device, Reply, boottime
from gateway.core.errors import Unavailable
from gateway.core.events import Connected, Disconnected, Failed
from gateway.core.settings import CodecSettings, DeviceSettings, Id, wrong
from gateway.io.serial.asking import Asking
from gateway.io.serial.asking_settings import CommandSettings, PollSettings
from gateway.io.serial.framing import Piece
from gateway.io.serial.framing_settings import FramingSettings
from gateway.io.serial.line import Line
from gateway.io.serial.names import USB, find, known_as
from gateway.io.serial.polls import Done, Polls
from gateway.io.serial.port import PortOptions

_BACKLOG = 1_000_000  # bytes that may wait while the disk refuses
_FRAME = 100  # what a frame costs besides its bytes
_PROMPT = 0.05  # silence that is shorter must be seen as soon as it comes (s)


class SerialSettings(DeviceSettings):
    """A device on a serial port."""

    type: Literal["serial"] = "serial"
    """Which driver."""
    port: str
    """The port, best by its name in /dev/serial/by-id, which stays; or its adapter as
    `usb:VENDOR:PRODUCT` or `usb:VENDOR:PRODUCT:SERIAL`."""
    baudrate: Annotated[int, Field(ge=50, le=4_000_000)] = 9_600
    """Bits a second."""
    bytesize: Literal[8, 7, 6, 5] = 8
    """Bits of a byte."""
    parity: Literal["none", "even", "odd", "mark", "space"] = "none"
    """The parity bit. A byte whose parity is wrong is read as 0."""
    stopbits: Literal[1, 2] = 1
    """Stop bits."""
    flow: Literal["none", "rtscts", "dsrdtr", "xonxoff"] = "none"
    """How either side stops the other."""
    exclusive: bool = True
    """Let nobody else open the port meanwhile."""
    framing: FramingSettings = FramingSettings()
    """Where frames begin and end."""
    codec: SerializeAsAny[CodecSettings] = JsonSettings()
    """How a frame is decoded."""
    poll: tuple[PollSettings, ...] = ()
    """Requests that are asked again and again. With any, only answers are readings."""
    commands: dict[Id, CommandSettings] = Field(default_factory=dict)
    """What the device can be told, by name."""

    @model_validator(mode="after")
    def _port(self) -> "SerialSettings":
        if not self.port.startswith("/") and not USB.fullmatch(self.port):
            fix = f"port: /dev/{self.port.rpartition('/')[2] or 'ttyUSB0'}, or usb:VENDOR:PRODUCT"
            raise wrong("port", "neither a path nor an adapter on USB", fix)
        return self

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return SerialDevice(name, self, context)

    @property
    def options(self) -> PortOptions:
        """How the port is set up."""
        return PortOptions(
            self.baudrate, self.bytesize, self.parity[0].upper(), self.stopbits, self.flow,
            self.exclusive, prompt=0 < self.framing.quiet < _PROMPT,
        )  # fmt: skip


class SerialDevice:
    """See the module. root: where the file system begins; another one in tests."""

    def __init__(
        self, name: str, settings: SerialSettings, context: Context, root: Path = Path("/")
    ) -> None:
        self.name = name
        self.denied = False
        self.retained = 0
        self.dropped: Counter[str] = Counter()
        self._settings = settings
        self._emit = context.emit
        self._root = root
        self._stopped = False
        self._told = "connecting"  # the trouble that events have told of
        self._waiting: deque[Burst] = deque()
        self._weight = 0  # of what waits
        self._arrived = asyncio.Event()
        self._line = Line(
            name, settings.port, settings.options, settings.framing.build(),
            settings.framing.quiet, self._heard, self._changed, root,
        )  # fmt: skip
        self._asking = Asking(self._line.write)
        polls = [each.build() for each in settings.poll]
        self._polls = Polls(
            name, polls, self._asking, self._line.up, self._answered, context.gather,
            self._line.forget, self._tell,
        )  # fmt: skip

    @property
    def trouble(self) -> str:
        """Why nothing can be heard at the moment, or ""."""
        return "stopped" if self._stopped else self._line.trouble or self._polls.trouble

    @property
    def concern(self) -> str:
        """What is wrong; at once when the port is gone, for that is no passing matter."""
        if self._line.opened and self._line.trouble:
            return self._line.trouble
        return self._polls.concern

    def details(self) -> dict[str, Any]:
        """More for status."""
        return {
            "port": self._settings.port,
            "path": self._line.path or None,
            "opened": self._line.opened,
            "bytes": self._line.bytes,
            "polls": self._polls.details(),
            "commands": sorted(self._settings.commands),
            "concern": self.concern or None,
        }

    def info(self) -> Mapping[str, Any]:
        """The adapter; reads files."""
        with suppress(Unavailable):
            adapter = known_as(find(self._settings.port, root=self._root), self._root)
            names = {"model": adapter.name, "serial": adapter.serial} if adapter else {}
            return self._about | {key: value for key, value in names.items() if value}
        return self._about

    @property
    def _about(self) -> dict[str, Any]:
        return {"source": "serial", "port": self._settings.port}

    async def listen(self) -> AsyncIterator[Burst]:
        """Bursts as read from the port. Raises ConfigError for settings that it cannot have."""
        self._stopped = False
        tasks = [asyncio.create_task(self._line.run(), name=f"serial {self.name}")]
        if self._settings.poll:
            tasks.append(asyncio.create_task(self._polls.run(), name=f"polls {self.name}"))
        for task in tasks:
            task.add_done_callback(lambda ended: self._arrived.set())
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    yield self._next()
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            self._stopped = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- what comes -------------------------------------------------------------------------

    def _heard(self, pieces: Sequence[Piece]) -> None:
        kept = [piece for piece in pieces if piece.fault or self._is_wanted(piece.payload)]
        if not kept:
            return
        faulty = any(piece.fault for piece in kept)
        self._put(
            Burst(
                time.time_ns(),
                [self.name] * len(kept),
                [piece.payload for piece in kept],
                faults=[(p.fault, p.detail) if p.fault else None for p in kept] if faulty else (),
                boottime=boottime(),
            )
        )

    def _is_wanted(self, frame: bytes) -> bool:
        if self._asking.take(frame):
            return False
        if self._settings.poll:
            # Perhaps the answer to a request that was given up: nobody knows to which.
            self.dropped["unasked"] += 1
            return False
        return True

    def _answered(self, payload: bytes, done: Done, urgent: bool) -> None:
        burst = Burst(time.time_ns(), [self.name], [payload], on_done=done, urgent=urgent)
        self._weight += _weight(burst)
        self._waiting.append(burst)
        self._arrived.set()

    def _put(self, burst: Burst) -> None:
        if self._weight > _BACKLOG:
            if self._settings.flow == "none":
                self.dropped["overflow"] += len(burst)
                return
            self._line.hold(True)
        self._weight += _weight(burst)
        self._waiting.append(burst)
        self._arrived.set()

    def _next(self) -> Burst:
        burst = self._waiting.popleft()
        self._weight -= _weight(burst)
        if self._weight < _BACKLOG // 2:
            self._line.hold(False)
        return burst

    # -- how it is --------------------------------------------------------------------------

    def _changed(self, trouble: str, denied: bool) -> None:
        self.denied = denied
        if trouble:
            self._asking.fail(trouble)
        if denied:
            self._emit(Failed(kind="device", name=self.name, error="denied", reason=trouble))
        self._tell()

    def _tell(self) -> None:
        """Events: when nothing can be heard any more, and when something can again."""
        before, self._told = self._told, self.trouble
        if self._told and not before:
            self._emit(Disconnected(kind="device", name=self.name, reason=self._told))
        elif before and not self._told:
            self._emit(Connected(kind="device", name=self.name, detail=self._line.path))

    # -- commands ---------------------------------------------------------------------------

    def commands(self, device: str) -> Mapping[str, Schema]:
        """See gateway.core.commands.Commandable."""
        return {name: command.arguments() for name, command in self._settings.commands.items()}

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator."""
        known = self._settings.commands.get(command.name)
        if known is None:
            names = ", ".join(sorted(self._settings.commands)) or "none"
            return Reply("rejected", error=f'no command "{command.name}"; known: {names}')
        if command.expires and time.time_ns() > command.expires:
            return Reply("expired", error="it came too late")
        return await known.execute(command.args, self._asking)


def _weight(burst: Burst) -> int:
    return sum(map(len, burst.payloads)) + _FRAME * len(burst)
