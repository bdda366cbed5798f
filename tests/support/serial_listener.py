"""A serial device at work at one end of a cable, and what came of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devices.serial import SerialDevice, SerialSettings
from gateway.core.contracts import Burst, Context, Endpoint, Stored
from gateway.core.events import Event
from tests.support.cable import Cable


class Listener:
    """See the module. acknowledge: whether bursts are stored; open: whether they are taken."""

    def __init__(self, directory: Path, port: str, root: Path = Path("/"), **settings: Any) -> None:
        self.events: list[Event] = []
        self.bursts: list[Burst] = []
        self.acknowledge = True
        self.open = asyncio.Event()
        self.open.set()
        context = Context("gw", "berrygate", directory, Endpoint(), self.events.append)
        built = SerialSettings.model_validate({"port": port, **settings})
        self.device = SerialDevice("scale", built, context, root)

    async def pump(self) -> None:
        """Take what comes, until cancelled."""
        async for burst in self.device.listen():
            await self.open.wait()
            self.bursts.append(burst)
            if self.acknowledge:
                burst.done(Stored())

    @property
    def payloads(self) -> list[bytes]:
        """All frames so far that are good."""
        return [
            payload
            for burst in self.bursts
            for payload, fault in zip(
                burst.payloads, burst.faults or [None] * len(burst), strict=True
            )
            if fault is None
        ]

    @property
    def faults(self) -> list[tuple[str, bytes]]:
        """The others: (why, first bytes)."""
        return [
            (fault[0], payload)
            for burst in self.bursts
            for payload, fault in zip(burst.payloads, burst.faults, strict=False)
            if fault is not None
        ]


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Wait until it holds; as long as `timeout` (s)."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


async def connected(found: Listener) -> None:
    """Wait until what is said now is a frame from its beginning."""
    await until(lambda: found.device.trouble == "")
    await asyncio.sleep(0.1)  # what comes sooner may have begun before


@asynccontextmanager
async def at_work(found: Listener) -> AsyncIterator[None]:
    """It listens for as long as the context lasts."""
    task = asyncio.create_task(found.pump())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def listening(cable: Cable, **settings: Any) -> AsyncIterator[Listener]:
    """The same, at this cable, once it is connected."""
    found = Listener(cable.link.parent, str(cable.link), **settings)
    async with at_work(found):
        await connected(found)
        yield found
