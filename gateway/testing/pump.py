"""Takes what a device gives, as the gateway does; and has its other side say something."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from gateway.core.contracts import Burst, Busy, Device, Stored
from gateway.core.errors import ConfigError, Denied
from gateway.testing.frames import Frames
from gateway.testing.verdict import Does, Unfit, do, unfit

_AGAIN = 1.0  # how often the other side is asked to say something, until something comes (s)


class Pump:
    """Takes what the device gives, as the gateway does. holds: nothing is acknowledged yet."""

    def __init__(self, device: Device, frames: Frames) -> None:
        self.count = 0
        self.holds = self.closing = False
        self.held: list[Burst] = []
        self.outcome: Stored | Busy = Stored()
        self.error: BaseException | None = None
        self._device = device
        self._frames = frames
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled; error: why it ended otherwise."""
        try:
            made = self._device.listen()
            if not isinstance(made, AsyncGenerator):
                unfit(f"listen() gives {made!r}", "async def listen(self): … yield Burst(…)")
            async with aclosing(made) as bursts:
                async for burst in bursts:
                    self._take(burst)
                    if self.closing:
                        return
            unfit("listen() ended by itself", "reconnect in it until it is closed")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - judged where it is seen
            self.error = error
            self._arrived.set()

    def _take(self, burst: Burst) -> None:
        self._frames.check(burst)
        self.count += 1
        self.held.append(burst)
        if not self.holds:
            self.release()
        self._arrived.set()

    def release(self) -> None:
        """Acknowledge what came, in order."""
        self.holds = False
        waiting, self.held = self.held, []
        for burst in waiting:
            try:
                burst.done(self.outcome)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                unfit(f"on_done raises {type(error).__name__}: {error}", "it must never raise")

    async def came(self, seconds: float) -> None:
        """Wait for the next burst, at most so long."""
        self._arrived.clear()
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self.judge()

    def judge(self) -> None:
        """Raises Unfit, or what the device may raise."""
        error, self.error = self.error, None
        if isinstance(error, Unfit):
            raise error
        if isinstance(error, Denied | ConfigError):
            fix = "does the configuration that the test gives let it in?"
            unfit(f"listen() gave up: {type(error).__name__}: {error}", fix)
        if error is not None:
            fix = "catch it, set trouble, try again after a pause; raise Denied or ConfigError only"
            unfit(f"listen() raises {type(error).__name__}: {error}", fix)


class Speaker:
    """Has the other side say something; again, for it may have done so while nobody heard. error:
    why it could not the last time, or ""."""

    def __init__(self, say: Does | None, patience: float) -> None:
        self._say = say
        self._patience = patience
        self._saying: asyncio.Task[Any] | None = None
        self.error = ""

    async def until(self, condition: Callable[[], bool], pump: Pump, patience: float) -> bool:
        """Whether the condition came true within `patience` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while not condition():
            if loop.time() > deadline:
                return False
            if self._say is not None and (self._saying is None or self._saying.done()):
                self._saying = asyncio.create_task(self._try(self._say))
            await pump.came(_AGAIN)
        return True

    async def end(self) -> None:
        """Wait until it has finished."""
        if self._saying is None:
            return
        done, _ = await asyncio.wait([self._saying], timeout=self._patience)
        if not done:
            self._saying.cancel()
            fix = "acknowledge in on_done; or let the test not wait for an answer for ever"
            unfit("what says something for the test does not come back", fix)

    async def _try(self, say: Does) -> None:
        try:
            await do(say)
        except Exception as error:  # noqa: BLE001 - told if nothing is ever heard
            self.error = f"say() raised {type(error).__name__}: {error}"
        else:
            self.error = ""
