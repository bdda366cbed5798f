"""The I2C driver at work on simulated chips."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import smbus2.smbus2

from devices.i2c import I2cDevice, I2cSettings
from gateway.core.contracts import Burst, Context, Endpoint, Stored
from gateway.core.errors import DecodeError
from gateway.core.events import Event
from tests.support.i2c_chips import (
    EXAMPLE,
    HUMID,
    Ads1115,
    Bme280,
    Chip,
    Ina219,
    Memory,
    Sht3x,
    trimming,
)
from tests.support.i2c_wires import Wires

ALL: list[dict[str, Any]] = [
    {"id": "outside", "kind": "bme280"},
    {"kind": "sht3x"},
    {"kind": "ads1115", "rate": 860, "channels": [
        {"name": "level", "input": 0, "scale": 100, "offset": -50, "unit": "cm"},
        {"name": "bridge", "input": 2, "minus": 3, "range": 0.256},
    ]},
    {"id": "battery", "kind": "ina219", "shunt": 0.1, "max_current": 2},
    {"id": "meter", "kind": "registers", "address": 0x20, "setup": ["hex:10 03"], "registers": [
        {"name": "flow", "register": 1, "type": "uint16", "scale": 0.1, "unit": "l/min"},
        {"name": "mode", "register": 0x10},
    ]},
]  # fmt: skip


def chips() -> dict[int, Chip]:
    return {
        0x76: Bme280(trimming(EXAMPLE, HUMID)),
        0x44: Sht3x(),
        0x48: Ads1115((1.0, 0.0, 1.6, 1.5)),
        0x40: Ina219(0.1, 1.5, 12.0),
        0x20: Memory({1: b"\x00\x7b"}),
    }


class Listener:
    """A bus at work, and what came of it."""

    def __init__(self, path: Path, root: Path, items: list[dict[str, Any]], **more: Any) -> None:
        self.path = path
        self.events: list[Event] = []
        self.frames: list[tuple[str, bytes]] = []
        context = Context("gw", "berrygate", root, Endpoint(), self.events.append)
        self.settings = I2cSettings.model_validate(
            {"bus": str(path), "interval": "50ms", "chips": items, **more}
        )
        self.device = I2cDevice("i2c", self.settings, context, root)
        self.codec = self.settings.codec.build()

    async def pump(self) -> None:
        async for burst in self.device.listen():
            self.take(burst)

    def take(self, burst: Burst) -> None:
        self.frames += zip(burst.topics, burst.payloads, strict=True)
        burst.done(Stored())

    def values(self, chip: str) -> list[Mapping[str, Any]]:
        """What a chip said, without what cannot be decoded."""
        found = []
        for topic, frame in self.frames:
            if topic == chip:
                try:
                    ((_, _, values),) = self.codec.addressed(topic, topic, frame, 0)
                except DecodeError:
                    continue
                found.append(values)
        return found

    def counts(self) -> Counter[str]:
        return Counter(topic for topic, _ in self.frames)


async def until(condition: Callable[[], Any], timeout: float = 20) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(name="wires")
def simulated(monkeypatch: pytest.MonkeyPatch) -> Wires:
    found = Wires()
    monkeypatch.setattr(smbus2.smbus2, "ioctl", found.ioctl)
    return found


@asynccontextmanager
async def listening(
    wires: Wires, directory: Path, items: list[dict[str, Any]], there: Mapping[int, Chip],
    **more: Any,
) -> AsyncIterator[Listener]:  # fmt: skip
    path = wires.bus(directory / "i2c-1", there)
    found = Listener(path, directory, items, **more)
    task = asyncio.create_task(found.pump())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def open_files() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(fd.readlink()))
        except OSError:
            continue
    return found
