"""Thermometers on 1-Wire (DS18B20 and kin), found by themselves through Linux's /sys.

One that does not answer is named, and read again when it is back.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from gateway.core.contracts import Burst, Context, Device
from gateway.core.errors import DecodeError, Unavailable
from gateway.core.events import Connected, Disconnected
from gateway.core.settings import DeviceSettings, Duration, Id
from gateway.io.onewire import sysfs as onewire
from gateway.io.onewire.codec import OneWireCodecSettings, decoded
from gateway.io.single import Single
from gateway.io.turns import Turn, Turns

log = logging.getLogger(__name__)

_FIND = 5.0  # how often it is looked for new sensors (s)
_TRIES = 3  # how often a sensor is read at once while what it says is damaged
_PATIENCE = 30.0  # how long that may take (s)


class OneWireSettings(DeviceSettings):
    """Thermometers on 1-Wire."""

    type: Literal["onewire"] = "onewire"
    """Which driver."""
    interval: Annotated[Duration, Field(ge=0.1)] = 10.0
    """How often each is read. One takes up to 0.75 s, and they take turns."""
    names: dict[str, Id] = Field(default_factory=dict)
    """Devices' names by the sensors' ids, such as 28-0316a2790bff; other sensors are called by
    their ids. One that is named here is missed where it is not on the bus."""
    resolution: Annotated[int, Field(ge=9, le=12)] | None = None
    """Bits of a measurement: 9 (0.5 °C, 94 ms) to 12 (0.0625 °C, 750 ms); as the sensor has it if
    not given."""

    @field_validator("names")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for sensor in value:
            if not onewire.SENSOR.fullmatch(sensor):
                raise ValueError(f'"{sensor}" is no sensor\'s id; ls /sys/bus/w1/devices')
        for name, count in Counter(value.values()).items():
            if count > 1:
                raise ValueError(f'two sensors are called "{name}"')
        return value

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return OneWireDevice(name, self, context)

    @property
    def codec(self) -> OneWireCodecSettings:
        """How what the kernel says of a sensor is decoded."""
        return OneWireCodecSettings()


class OneWireDevice:
    """See the module. root: where the kernel's file system begins; another one in tests."""

    def __init__(
        self, name: str, settings: OneWireSettings, context: Context, root: Path = Path("/")
    ) -> None:
        self.name = name
        self.denied = False
        self.retained = 0
        self.dropped: Counter[str] = Counter()
        self._settings = settings
        self._emit = context.emit
        self._root = root
        hangs = f"the kernel has not answered within {_PATIENCE:g} s"
        self._calls = Single(f"onewire-{name}", _PATIENCE, hangs, "restart the machine")
        self._away = "connecting"  # why no sensor can be had, or ""
        self._fix = ""
        self._here: dict[str, Path] = {}
        self._notes: dict[str, str] = {}  # why a sensor has another resolution than it should
        self._turns = Turns(name, context.emit)
        for sensor in settings.names:
            self._turns.add(self._turn(sensor))

    @property
    def trouble(self) -> str:
        """Why nothing comes at the moment, or ""."""
        return self._away or self._turns.trouble

    @property
    def concern(self) -> str:
        """Which sensors do not answer while others do."""
        return "" if self._away else self._turns.concern

    def details(self) -> dict[str, Any]:
        """More for status."""
        return {
            "fix": self._fix or None,
            "sensors": [
                {**each, "sensor": sensor, "note": self._notes.get(sensor)}
                for each in self._turns.details()
                for sensor in [self._sensor(each["device"])]
            ],
            "concern": self.concern or None,
        }

    def device_of(self, topic: str) -> str:
        """The name of the sensor that a frame's topic begins with."""
        return self._name(topic.partition("/")[0])

    def trouble_of(self, device: str) -> str:
        """Why nothing comes from one of the sensors at the moment, or ""."""
        turn = self._turns.get(device)
        return self._away or (turn.failing if turn is not None else "")

    def info_of(self, device: str) -> Mapping[str, Any]:
        """What one of the sensors is."""
        sensor = self._sensor(device)
        model = onewire.FAMILIES.get(sensor.partition("-")[0], "")
        return {"source": "onewire", "model": model, "serial": sensor}

    async def listen(self) -> AsyncIterator[Burst]:
        """A frame from each sensor, each interval."""
        loop = asyncio.get_running_loop()
        look = loop.time()
        self._turns.begin(look)
        try:
            while True:
                if loop.time() >= look:
                    await self._find()
                    look = loop.time() + min(_FIND, self._settings.interval)
                turn = self._turns.next()
                wake = look if turn is None or self._away else min(look, turn.wake)
                await asyncio.sleep(max(wake - loop.time(), 0))
                if turn is None or self._away or turn.wake > loop.time():
                    continue
                if (found := await self._read(turn)) is not None:
                    topic, frame = found
                    yield Burst(time.time_ns(), [topic], [frame])
        finally:
            self._away = "stopped"

    # -- which there are --------------------------------------------------------------------

    async def _find(self) -> None:
        try:
            here = await self._calls.run(lambda: onewire.sensors(self._root))
        except Unavailable as error:
            here = {}
            self._is_away(str(error), error.fix)
        else:
            nobody = not here and self._turns.next() is None
            fix = "check the wires: data at GPIO 4, with 4.7 kΩ to 3.3 V"
            self._is_away("no thermometer is on the bus" if nobody else "", fix if nobody else "")
        now = asyncio.get_running_loop().time()
        for sensor in here.keys() - self._here.keys():
            self._came(sensor, now)
        for sensor in self._here.keys() - here.keys():
            self._notes.pop(sensor, None)
        self._here = here

    def _is_away(self, reason: str, fix: str | None) -> None:
        before, self._away, self._fix = self._away, reason, fix or ""
        if reason and reason != before:
            log.warning("device %s: %s (%s)", self.name, reason, self._fix)
            self._emit(Disconnected(kind="device", name=self.name, reason=reason))
        elif before and not reason:
            self._emit(Connected(kind="device", name=self.name, detail="1-Wire"))

    def _came(self, sensor: str, now: float) -> None:
        turn = self._turns.get(self._name(sensor))
        if turn is None:
            turn = self._turn(sensor)
            self._turns.add(turn)
            log.info("device %s: found %s", self.name, turn.label)
        turn.due = now

    def _turn(self, sensor: str) -> Turn:
        name, kind = self._name(sensor), onewire.FAMILIES[sensor.partition("-")[0]]
        label = f"{name} ({kind})" if name == sensor else f"{name} ({kind} {sensor})"
        return Turn(name, label, self._settings.interval)

    def _name(self, sensor: str) -> str:
        return self._settings.names.get(sensor, sensor)

    def _sensor(self, name: str) -> str:
        return next((s for s, given in self._settings.names.items() if given == name), name)

    # -- what they say ----------------------------------------------------------------------

    async def _read(self, turn: Turn) -> tuple[str, bytes] | None:
        """The topic and the frame of a sensor whose turn it is."""
        loop, sensor = asyncio.get_running_loop(), self._sensor(turn.name)
        path = self._here.get(sensor, self._root / "sys/bus/w1/devices" / sensor)
        try:
            file, frame, fault = await self._calls.run(partial(self._tried, sensor, path))
        except Unavailable as error:
            self._turns.missed(turn, str(error), loop.time(), error.fix)
            self._notes.pop(sensor, None)  # it may have lost its resolution with its supply
            return None
        if fault is None:
            self._turns.answered(turn, loop.time())
        else:
            self._turns.missed(turn, str(fault), loop.time(), fault.fix)
        return f"{sensor}/{file}", frame

    def _tried(self, sensor: str, path: Path) -> tuple[str, bytes, DecodeError | None]:
        """The file, what is in it, and why that is no reading. Blocks. What is damaged is given
        only where there is no better. Raises Unavailable."""
        if self._settings.resolution is not None and sensor not in self._notes and path.exists():
            note = onewire.set_resolution(path, self._settings.resolution)
            self._notes[sensor] = note
            if note:
                log.warning("device %s: %s: %s", self.name, sensor, note)
        tries, family = _TRIES, sensor.partition("-")[0]
        while True:
            tries -= 1
            file, frame = onewire.read(path)
            try:
                decoded(family, file, frame)
            except DecodeError as error:
                if not tries:
                    return file, frame, error
            else:
                return file, frame, None
