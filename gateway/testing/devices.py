"""check_device(): a device as the gateway meets it, with its other side coming and going."""

import asyncio
import inspect
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import registry
from gateway.core.commands import Commandable
from gateway.core.contracts import (
    Actuator,
    Busy,
    Command,
    Context,
    Described,
    Detailed,
    Device,
    Endpoint,
    Reply,
    Watched,
)
from gateway.core.events import Disconnected, Event
from gateway.core.settings import DeviceSettings
from gateway.testing.frames import Frames
from gateway.testing.holding import Holding
from gateway.testing.importing import check_building, check_import
from gateway.testing.pump import Pump, Speaker
from gateway.testing.settings import check_example, check_registered, check_secrecy, check_settings
from gateway.testing.traces import Traces, leaves_nothing
from gateway.testing.verdict import Does, comes_true, do, unfit

_NAME = "checked"
_AWHILE = 1.0  # for what may come or not (s)
_TOO_EARLY = 0.3  # for so long nothing must be acknowledged that is not stored (s)


async def check_device(
    settings: type[DeviceSettings],
    config: Mapping[str, Any],
    *,
    say: Does | None = None,
    leave: Does | None = None,
    come: Does | None = None,
    answered: Callable[[], int] | None = None,
    broker: Endpoint | None = None,
    example: Path | None = None,
    patience: float = 30.0,
) -> None:
    """Raises Unfit if the driver does not do what the gateway relies on.

    config: as in the configuration file, without `type`. say: have the other side say something;
    left out for a driver that reads by itself. leave, come: have the other side be gone, and back.
    answered: of how many messages the other side was told that they are stored. broker: for what
    uses the gateway's. example: a configuration file that shows the driver. patience: how long
    anything may take (s)."""
    made = check_settings(settings, DeviceSettings, config)
    check_registered(settings, registry.DEVICES)
    if example is not None:
        check_example(settings, example)
    await check_import(settings.__module__)
    with tempfile.TemporaryDirectory() as directory:
        trial = _Trial(made, Path(directory), broker or Endpoint(), patience)
        with Holding(inspect.getfile(settings)) as holding:
            await trial.first(say, answered)
            holding.judge()
            await trial.again(say, leave, come)
            await trial.told()


class _Trial:
    def __init__(
        self, settings: DeviceSettings, directory: Path, broker: Endpoint, patience: float
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._thread = threading.get_ident()
        self._events: list[Event] = []
        self._stray: Event | None = None  # told in another thread
        context = Context(
            "checking", "berrygate", directory, broker, self._emit, codec=registry.codec
        )
        device = check_building(lambda: settings.build(_NAME, context))
        if not isinstance(device, Device):
            unfit(f"build() gives {device!r}", "an object with a name and `async def listen(self)`")
        if device.name != _NAME:
            unfit(f'the device is called "{device.name}"', "self.name = name, as build() is given")
        self._device: Device = device
        self._frames = Frames(device, settings)

    async def first(self, say: Does | None, answered: Callable[[], int] | None) -> None:
        """Listen, acknowledge, and be ended as a reload does: by cancelling."""
        before = Traces.now()
        async with self._pumping() as pump:
            pump.holds = answered is not None
            if answered is not None:
                await self._acknowledges(pump, say, answered)
            else:
                await self._hears(pump, say)
            self._frames.check_topics()
        await leaves_nothing(before, "listen(), once it is cancelled,", self._patience)

    async def again(self, say: Does | None, leave: Does | None, come: Does | None) -> None:
        """Listen once more, with nobody there at first; be away in the middle; be closed."""
        before = Traces.now()
        if leave is not None:
            await do(leave)
        async with self._pumping(closes=True) as pump:
            if leave is not None and come is not None:
                await self._troubled(pump, "from the start")
                await do(come)
                await self._hears(pump, say)
                await self._healed()
                del self._events[:]
                await do(leave)
                await self._troubled(pump, "after it was there")
                if not await comes_true(self._disconnected, self._patience):
                    fix = 'context.emit(Disconnected(kind="device", name=self.name, reason=…))'
                    unfit("no event tells that the other side is gone", fix)
                await do(come)
            await self._hears(pump, say)
            await self._healed()
            pump.outcome = Busy(1.0)  # a disk that refuses: must not break anything
            await self._hears(pump, say, judged=say is None)
        await leaves_nothing(before, "listen(), once it is closed,", self._patience)

    async def told(self) -> None:
        """What it tells of itself, and what it does when told something."""
        if self._stray is not None:
            fix = "loop.call_soon_threadsafe(context.emit, event)"
            unfit(f"emit() is called outside the event loop's thread: {self._stray!r}", fix)
        device, said = self._device, [repr(self._device), *map(repr, self._events)]
        if isinstance(device, Detailed):
            said += [device.concern, _json(device.details(), "details()")]
        if isinstance(device, Described):
            said.append(_json(await asyncio.to_thread(device.info), "info()"))
        if isinstance(device, Watched):
            said.append(device.trouble)
            _json([device.dropped, device.retained, device.denied], "dropped, retained, denied")
        for each in said:
            check_secrecy(self._settings, each, "what the device tells of itself")
        if isinstance(device, Actuator):
            await self._refuses(device)

    # -- parts ------------------------------------------------------------------------------

    async def _hears(self, pump: Pump, say: Does | None, judged: bool = True) -> None:
        """Something comes that can be decoded."""
        count, seen = self._frames.readings, pump.count
        speaker = Speaker(say, self._patience)
        patience = self._patience if judged else _AWHILE
        heard = await speaker.until(lambda: self._frames.readings > count, pump, patience)
        await speaker.end()
        if judged and not heard:
            what = "what came cannot be decoded" if pump.count > seen else "nothing came"
            unfit(
                f"{what} within {self._patience:g} s{self._why(speaker)}",
                "yield a burst as soon as something was heard; let the test say what codec: reads",
            )

    async def _acknowledges(
        self, pump: Pump, say: Does | None, answered: Callable[[], int]
    ) -> None:
        before, speaker = answered(), Speaker(say, self._patience)
        if not await speaker.until(lambda: bool(pump.held), pump, self._patience):
            what = f"nothing came within {self._patience:g} s{self._why(speaker)}"
            unfit(what, "yield a burst as soon as something was heard")
        await asyncio.sleep(_TOO_EARLY)
        if answered() > before:
            fix = "answer in on_done, which is called once the burst is stored"
            unfit("the other side was answered before the burst was stored", fix)
        pump.release()
        if not await comes_true(lambda: answered() > before, self._patience):
            unfit("the other side is not answered although the burst is stored", "do so in on_done")
        await speaker.end()

    def _why(self, speaker: Speaker) -> str:
        trouble = self._device.trouble if isinstance(self._device, Watched) else ""
        said = "; ".join(filter(None, (trouble, speaker.error)))
        return f" ({said})" if said else ""

    async def _troubled(self, pump: "Pump", when: str) -> None:
        device = self._device
        if not isinstance(device, Watched):
            fix = "have trouble, denied, dropped and retained: gateway.core.contracts.Watched"
            unfit("it does not tell when its other side is gone", fix)
        await comes_true(
            lambda: bool(device.trouble or self._concern() or pump.error), self._patience
        )
        pump.judge()
        if not device.trouble and not self._concern():
            fix = "set trouble to the reason for people while nothing can be heard"
            unfit(f"trouble is empty although the other side is gone, {when}", fix)

    async def _healed(self) -> None:
        device = self._device
        if isinstance(device, Watched) and not await comes_true(
            lambda: not device.trouble and not self._concern(), self._patience
        ):
            fix = 'set trouble to "" once the other side is there again'
            unfit(f'trouble is "{device.trouble}" although frames come', fix)

    def _concern(self) -> str:
        return self._device.concern if isinstance(self._device, Detailed) else ""

    def _disconnected(self) -> bool:
        return any(isinstance(event, Disconnected) for event in self._events)

    async def _refuses(self, device: Actuator) -> None:
        # One that passes on whatever it is told cannot know; nobody is there to hear it now.
        refused = ("rejected",) if isinstance(device, Commandable) else ("rejected", "failed")
        for command, allowed in (
            (Command("no-such-command", id="1"), refused),
            (Command("no-such-command", id="2", expires=1), ("rejected", "expired")),
        ):
            try:
                reply = await asyncio.wait_for(device.execute(command), self._patience)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                unfit(
                    f"execute() raises {type(error).__name__}: {error}", "give a Reply with error"
                )
            if not isinstance(reply, Reply) or reply.status not in allowed or not reply.error:
                fix = 'Reply("rejected", error=what there is instead)'
                unfit(f"execute() of a command that does not exist gives {reply!r}", fix)

    def _emit(self, event: Event) -> None:
        if threading.get_ident() != self._thread:
            self._stray = event
        self._events.append(event)

    @asynccontextmanager
    async def _pumping(self, closes: bool = False) -> AsyncIterator["Pump"]:
        pump = Pump(self._device, self._frames)
        task = asyncio.create_task(pump.run())
        try:
            yield pump
            pump.judge()
        finally:
            if closes and not pump.error:
                pump.closing = True
                # It is closed at its next burst, or after a while in the middle of waiting for one.
                await asyncio.wait([task], timeout=_AWHILE)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=self._patience)
        if not done:
            fix = "let CancelledError pass; await nothing in finally: that may take long"
            unfit("listen() does not end when it is closed", fix)
        pump.judge()


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(value, default=_mapping)
    except (TypeError, ValueError) as error:
        unfit(f"{where} is no JSON: {error}", "dict, list, str, int, float, bool or None")


def _mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
