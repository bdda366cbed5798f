"""Chips on an I2C bus: each is a device of its own, set up by us and read at its own pace.

A chip that does not answer is named, costs the others nothing, and is set up again when it is back.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gateway.core.contracts import Burst, Context, Device
from gateway.core.errors import Denied, Unavailable
from gateway.core.events import Connected, Disconnected, Failed
from gateway.core.settings import DeviceSettings, wrong
from gateway.io.i2c.bus import Bus
from gateway.io.i2c.chip import OnBus
from gateway.io.i2c.chips.codec import ChipCodecSettings
from gateway.io.i2c.chips.settings import ChipSettings, Interval, hexed
from gateway.io.i2c.faults import BusLost
from gateway.io.turns import Turn, Turns

log = logging.getLogger(__name__)

_EARLY = 0.001  # a timer may come so much before its time (s)
_FIRST, _LONGEST = 0.5, 5.0  # pauses between two attempts to open the bus (s)


class I2cSettings(DeviceSettings):
    """Chips on an I2C bus."""

    type: Literal["i2c"] = "i2c"
    """Which driver."""
    bus: Annotated[int, Field(ge=0)] | str = 1
    """The bus: its number, or a path such as /dev/i2c-1. A Pi's pins 3 and 5 are bus 1."""
    interval: Interval = 5.0
    """How often chips are read."""
    chips: Annotated[tuple[ChipSettings, ...], Field(max_length=112)]
    """What is on the bus; each is a device of its own."""

    @field_validator("bus")
    @classmethod
    def _bus(cls, value: int | str) -> int | str:
        if isinstance(value, str) and not value.startswith("/"):
            raise ValueError("expected a number or a path")
        return value

    @model_validator(mode="after")
    def _one_each(self) -> "I2cSettings":
        if not self.chips:  # not as a bound: one that is wrong would be called none
            raise wrong("chips", "nothing is on the bus", "chips: [{kind: bme280}]")
        ids = Counter(chip.id for chip in self.chips if chip.id is not None)
        for what, counts in (("id", ids), ("address", Counter(c.place for c in self.chips))):
            for value, count in counts.items():
                if count > 1:
                    shown = hexed(value) if isinstance(value, int) else value
                    fix = f"give one of them another {what}"
                    raise wrong("chips", f"two chips have {what} {shown}", fix)
        return self

    def build(self, name: str, context: Context) -> Device:
        """The driver."""
        return I2cDevice(name, self, context)

    @property
    def path(self) -> str:
        """The bus's device file."""
        return f"/dev/i2c-{self.bus}" if isinstance(self.bus, int) else self.bus

    @property
    def named_chips(self) -> dict[str, ChipSettings]:
        """Each chip by its name: its id, or its kind, with a number where that is taken."""
        found: dict[str, ChipSettings] = {}
        taken = {chip.id for chip in self.chips}
        for chip in self.chips:
            name, number = chip.id or chip.kind, 2
            while chip.id is None and (name in taken or name in found):
                name, number = f"{chip.kind}-{number}", number + 1
            found[name] = chip
        return found

    @property
    def codec(self) -> ChipCodecSettings:
        """How frames are decoded: as the chip has it that they come from."""
        return ChipCodecSettings(chips=self.named_chips)


class I2cDevice:
    """See the module. root: where the file system of kernel and devices begins; another one in
    tests."""

    def __init__(
        self, name: str, settings: I2cSettings, context: Context, root: Path = Path("/")
    ) -> None:
        self.name = name
        self.denied = False
        self.retained = 0
        self.dropped: Counter[str] = Counter()
        self._emit = context.emit
        self._bus = Bus(settings.path, f"i2c-{name}", root)
        self._away = "connecting"  # why the bus cannot be had, or ""
        self._fix = ""
        self._pause = _FIRST
        self._chips = {chip: OnBus(s, self._bus) for chip, s in settings.named_chips.items()}
        self._turns = Turns(
            name,
            context.emit,
            (
                Turn(chip, each.label(chip), each.interval or settings.interval, each.chip.looks)
                for chip, each in self._chips.items()
            ),
        )

    @property
    def trouble(self) -> str:
        """Why nothing comes at the moment, or ""."""
        return self._away or self._turns.trouble

    @property
    def concern(self) -> str:
        """Which chips do not answer while others do."""
        return "" if self._away else self._turns.concern

    def details(self) -> dict[str, Any]:
        """More for status."""
        return {
            "bus": self._bus.path,
            "fix": self._fix or None,
            "chips": self._turns.details(),
            "concern": self.concern or None,
        }

    def device_of(self, topic: str) -> str:
        """A frame's topic is the name of its chip."""
        return topic

    def trouble_of(self, device: str) -> str:
        """Why nothing comes from one of the chips at the moment, or ""."""
        turn = self._turns.get(device)
        return self._away or (turn.failing if turn is not None else "")

    def info_of(self, device: str) -> Mapping[str, Any]:
        """What one of the chips is."""
        each = self._chips.get(device)
        return {"source": "i2c", "bus": self._bus.path} | (each.about if each else {})

    async def listen(self) -> AsyncIterator[Burst]:
        """A frame from each chip, each interval."""
        loop = asyncio.get_running_loop()
        self._turns.begin(loop.time())
        try:
            while True:
                if not self._bus.is_open:
                    await self._open()
                turn = self._turns.next()
                assert turn is not None, "there is one chip at least"
                await asyncio.sleep(max(turn.wake - loop.time(), 0))
                if self._bus.is_open and (frame := await self._met(turn)) is not None:
                    yield Burst(time.time_ns(), [turn.name], [frame])
        finally:
            self._away = "stopped"
            await self._bus.close()

    # -- the bus ----------------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the bus; wait a little where that cannot be."""
        try:
            await self._bus.open()
        except (Unavailable, Denied) as error:
            await self._lost(error)
            return
        for each in self._chips.values():
            each.ready = False
        # What is on it has waited long enough.
        self._turns.begin(asyncio.get_running_loop().time())

    def _is_there(self) -> None:
        """A transfer was made, whatever came of it: that a bus can be opened says little."""
        if self._away:
            self._emit(Connected(kind="device", name=self.name, detail=self._bus.path))
        self._away, self._fix, self._pause, self.denied = "", "", _FIRST, False

    async def _lost(self, error: Unavailable | Denied) -> None:
        """Say it, and wait a little."""
        await self._bus.close()
        self._tell(error)
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST)

    def _tell(self, error: Unavailable | Denied) -> None:
        reason, before = str(error), self._away
        self.denied = isinstance(error, Denied)
        self._away, self._fix = reason, error.fix or ""
        if reason == before:
            return
        log.warning("device %s: %s%s", self.name, reason, f" ({error.fix})" if error.fix else "")
        if self.denied:
            self._emit(Failed(kind="device", name=self.name, error="denied", reason=reason))
        else:
            self._emit(Disconnected(kind="device", name=self.name, reason=reason))

    # -- a chip -----------------------------------------------------------------------------

    async def _met(self, turn: Turn) -> bytes | None:
        """Read a chip whose turn it is; or ask it for a sign of life, which gives no frame."""
        loop = asyncio.get_running_loop()
        each, read = self._chips[turn.name], turn.due <= loop.time() + _EARLY
        try:
            frame = await self._bus.run(each.read if read else each.look)
        except BusLost as error:
            await self._lost(error)
            return None
        except Unavailable as error:
            self._is_there()
            self._turns.missed(turn, str(error), loop.time(), error.fix)
            return None
        self._is_there()
        if frame is not None and (fault := each.fault(frame)) is not None:
            self._turns.missed(turn, str(fault), loop.time(), fault.fix)
        else:
            self._turns.answered(turn, loop.time(), read)
        return frame
