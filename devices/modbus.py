"""Devices that speak Modbus: by TCP, or RTU on a serial line.

A line has one or more units, each a device of its own; a map says what is in its registers.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gateway.core.contracts import Burst, Command, Context, Device, Reading, Reply, Value
from gateway.core.errors import DecodeError, Unavailable
from gateway.core.events import Connected, Disconnected, Failed
from gateway.core.settings import DeviceSettings, Duration, wrong
from gateway.io.modbus.commands import SET, execute, schema
from gateway.io.modbus.exchange import Exchange, silence
from gateway.io.modbus.settings import UnitSettings
from gateway.io.modbus.tcp_line import TcpLine
from gateway.io.modbus.unframed import Unframed
from gateway.io.modbus.units import Units
from gateway.io.serial.framing import Piece
from gateway.io.serial.line import Line
from gateway.io.serial.names import USB, find, known_as
from gateway.io.serial.port import PortOptions

_BACKLOG = 100  # bursts that may wait while the disk refuses; nothing is read meanwhile
_ONLY_SERIAL = ("baudrate", "parity", "stopbits", "exclusive", "echo", "pause")
_ONLY_TCP = ("encoding",)


class ModbusSettings(DeviceSettings):
    """Devices that speak Modbus, on one line."""

    type: Literal["modbus"] = "modbus"
    """Which driver."""
    host: str | None = None
    """For Modbus TCP: the address of the device, or of the gateway to a serial line."""
    port: Annotated[int, Field(ge=1, le=65_535)] | str = 502
    """For TCP: the port. For RTU, instead of `host`: the serial port, best by its name in
    /dev/serial/by-id, which stays; or its adapter as `usb:VENDOR:PRODUCT`."""
    encoding: Literal["tcp", "rtu"] = "tcp"
    """With `host`: `rtu` for a plain serial server, which sends what it hears on the line as it
    is."""
    baudrate: Annotated[int, Field(ge=300, le=4_000_000)] = 9_600
    """Bits a second on a serial line."""
    parity: Literal["none", "even", "odd"] = "none"
    """The parity bit there."""
    stopbits: Literal[1, 2] = 1
    """Stop bits there."""
    exclusive: bool = True
    """Let nobody else open the serial port meanwhile."""
    echo: bool = False
    """Whether the adapter hears what it sends, as some for RS-485 do."""
    pause: Annotated[Duration, Field(le=5)] = 0.0
    """How long a serial line is left alone before each request, if longer than the standard's 3.5
    characters."""
    timeout: Annotated[Duration, Field(gt=0, le=60)] = 1.0
    """How long an answer may take."""
    retries: Annotated[int, Field(ge=0, le=5)] = 1
    """How often a request is made again at once. Then the unit counts as away, and is asked ever
    more rarely until it answers."""
    units: tuple[UnitSettings, ...]
    """The devices on the line. `map` of each is the name of one that comes with the gateway, the
    path of a file of your own (with a `/` in it), or the map itself, written here."""

    @model_validator(mode="after")
    def _line(self) -> "ModbusSettings":
        serial = isinstance(self.port, str)
        if self.host is None and not serial:
            fix = "host: 192.168.1.50 for TCP, or port: /dev/serial/by-id/… for RTU"
            raise wrong("host", "neither a host nor a serial port is named", fix)
        if self.host is not None and serial:
            fix = "leave out host:, or give port: a number such as 502"
            raise wrong("port", "a serial port has no host", fix)
        for key in _ONLY_TCP if serial else _ONLY_SERIAL:
            if key in self.model_fields_set:
                where = "a serial line" if serial else "Modbus TCP"
                raise wrong(key, f"{where} has no {key}", f"leave out {key}:")
        if isinstance(self.port, str) and not (self.port[:1] == "/" or USB.fullmatch(self.port)):
            fix = f"port: /dev/{self.port.rpartition('/')[2] or 'ttyUSB0'}"
            raise wrong("port", "neither a path nor an adapter on USB", fix)
        return self._named()

    def _named(self) -> "ModbusSettings":
        if not self.units:
            raise wrong("units", "there is none", "units: [{device: meter, map: sdm120}]")
        counts = Counter(unit.device for unit in self.units)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise wrong("units", f'the device "{twice[0]}" is there twice', "rename one")
        if isinstance(self.port, str) and not all(unit.address for unit in self.units):
            raise wrong("units", "nobody answers at address 0 of a serial line", "address: 1")
        return self

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return ModbusDevice(name, self, context)

    @property
    def options(self) -> PortOptions:
        """How the serial port is set up. Not prompt: a frame comes in pieces, and waking up for
        each is what costs."""
        parity = self.parity[0].upper()
        return PortOptions(self.baudrate, 8, parity, self.stopbits, "none", self.exclusive)


class ModbusDevice:
    """See the module. root: where the file system begins; another one in tests."""

    _line: Line | TcpLine
    _exchange: Exchange

    def __init__(
        self, name: str, settings: ModbusSettings, context: Context, root: Path = Path("/")
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
        self._waiting: asyncio.Queue[Burst] = asyncio.Queue(_BACKLOG)
        self._arrived = asyncio.Event()
        self._all = {each.device: each.build(settings.timeout) for each in settings.units}
        drop = self._on_serial() if isinstance(settings.port, str) else self._over_tcp()
        self._units = Units(
            name, list(self._all.values()), self._exchange, self._line.up, self._put,
            settings.retries, self._tell, drop,
        )  # fmt: skip

    def _on_serial(self) -> Callable[[], None]:
        """A serial line, which is never made anew by us."""
        settings = self._settings
        line = self._line = Line(
            self.name, str(settings.port), settings.options, Unframed(), 0.0, self._pieces,
            self._changed, self._root,
        )  # fmt: skip
        pause = max(settings.pause, silence(settings.baudrate))
        self._exchange = Exchange("rtu", line.write, line.forget, pause, settings.echo)
        return lambda: None

    def _over_tcp(self) -> Callable[[], None]:
        """A connection; what makes it anew."""
        settings, changed = self._settings, partial(self._changed, denied=False)
        line = self._line = TcpLine(
            self.name, settings.host or "", int(settings.port), self._heard, self._lost, changed
        )
        self._exchange = Exchange(settings.encoding, line.write, lambda: None)
        return line.drop

    # -- what it says of itself ---------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why nothing can be heard at the moment, or ""."""
        return "stopped" if self._stopped else self._line.trouble or self._units.trouble

    @property
    def concern(self) -> str:
        """What is wrong; at once when the line is gone, for that is no passing matter."""
        if self._line.opened and self._line.trouble:
            return self._line.trouble
        return self._units.concern

    def details(self) -> dict[str, Any]:
        """More for status."""
        return {
            "port": self._where,
            "path": self._line.path or None,
            "opened": self._line.opened,
            "bytes": self._line.bytes,
            "units": [unit.details() for unit in self._all.values()],
            "concern": self.concern or None,
        }

    def device_of(self, topic: str) -> str:
        """See gateway.core.contracts.TopicMapped. Never called: readings name their device."""
        raise DecodeError(f'"{topic}" is no topic of Modbus', reason="topic")

    def trouble_of(self, device: str) -> str:
        """See gateway.core.contracts.Several."""
        return self._all[device].away if device in self._all else ""

    def info_of(self, device: str) -> Mapping[str, Any]:
        """See gateway.core.contracts.Several."""
        about: dict[str, Any] = {"source": "modbus", "port": self._where}
        if (unit := self._all.get(device)) is None:
            return about
        about |= {"unit": unit.address, "model": unit.model, "adapter": self._adapter}
        return {key: value for key, value in about.items() if value != ""}

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        return self._all[device].units if device in self._all else {}

    @property
    def _where(self) -> str:
        settings = self._settings
        if isinstance(settings.port, str):
            return settings.port
        return f"{settings.host}:{settings.port}"

    @property
    def _adapter(self) -> str:
        """What a serial port's adapter is called; reads files."""
        if not isinstance(self._settings.port, str):
            return ""
        with suppress(Unavailable):
            adapter = known_as(find(self._settings.port, root=self._root), self._root)
            return adapter.name if adapter else ""
        return ""

    # -- at work ------------------------------------------------------------------------------

    async def listen(self) -> AsyncIterator[Burst]:
        """Readings, as they are read. Raises ConfigError for settings that a port cannot have."""
        self._stopped = False
        line = asyncio.create_task(self._line.run(), name=f"modbus {self.name}")
        units = asyncio.create_task(self._units.run(), name=f"units {self.name}")
        tasks = (line, units)
        for task in tasks:
            task.add_done_callback(lambda ended: self._arrived.set())
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while not self._waiting.empty():
                    yield self._waiting.get_nowait()
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            self._stopped = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _put(self, device: str, values: dict[str, Value], when: int) -> None:
        await self._waiting.put(Burst(when, readings=[Reading(device, when, values)]))
        self._arrived.set()

    def _pieces(self, pieces: Sequence[Piece]) -> None:
        self._heard(b"".join(piece.payload for piece in pieces))

    def _heard(self, data: bytes) -> None:
        self._exchange.heard(data)

    def _lost(self, reason: str) -> None:
        self._exchange.fail(reason)

    def _changed(self, trouble: str, denied: bool) -> None:
        self.denied = denied
        if trouble:
            self._exchange.fail(trouble)
        else:
            self._units.renew()
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

    # -- commands -----------------------------------------------------------------------------

    def commands(self, device: str) -> Mapping[str, Mapping[str, Any]]:
        """What a device can be told: a JSON schema of the arguments, by command."""
        unit = self._all.get(device)
        return {SET: schema(unit)} if unit is not None and unit.settable else {}

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator."""
        name = command.device or (next(iter(self._all)) if len(self._all) == 1 else "")
        unit = self._all.get(name)
        if unit is None:
            return Reply("rejected", error=f'no device "{name}"; known: {", ".join(self._all)}')
        if command.name != SET:
            known = SET if unit.settable else "none"
            return Reply("rejected", error=f'no command "{command.name}"; known: {known}')
        if command.expires and time.time_ns() > command.expires:
            return Reply("expired", error="it came too late")
        reply = await execute(unit, command.args, self._exchange)
        if reply.result and not self._waiting.full():  # else it is told with what is read next
            await self._put(name, reply.result, time.time_ns())
        return reply
