"""check_bridge(): a bridge as the gateway uses it, its other side refusing, away, and back."""

import asyncio
import inspect
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import registry
from gateway.core.contracts import (
    Batch,
    Bridge,
    Checkable,
    Context,
    Endpoint,
    Endpoints,
    Reading,
    Value,
)
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable
from gateway.core.settings import BridgeSettings
from gateway.testing.batches import ODD, batch, check_indices, check_unchanged, mixed
from gateway.testing.holding import Holding
from gateway.testing.importing import check_building, check_import
from gateway.testing.settings import check_example, check_registered, check_secrecy, check_settings
from gateway.testing.traces import Traces, leaves_nothing
from gateway.testing.verdict import Does, do, unfit

_NAME = "checked"
_TOO_MANY = 0.3  # for so long nothing must arrive that was rejected (s)
_MEANINGS = "Unavailable, Throttled, Denied or Rejected, all in gateway.core.errors"


async def check_bridge(
    settings: type[BridgeSettings],
    config: Mapping[str, Any],
    *,
    took: Callable[[], int],
    leave: Does | None = None,
    come: Does | None = None,
    refused: Mapping[str, Value] | None = None,
    denied: Mapping[str, Any] | None = None,
    busy: Does | None = None,
    broker: Endpoint | None = None,
    example: Path | None = None,
    patience: float = 30.0,
) -> None:
    """Raises Unfit if the driver does not do what the gateway relies on.

    config: as in the configuration file, without `type`. took: how many readings the other side
    has, by now. leave, come: have the other side be gone, and back. refused: values that the other
    side does not take for what they are. denied: what of the configuration to change for nobody to
    be let in. busy: have the other side ask for a pause from now on. broker: for what uses the
    gateway's. example: a configuration file that shows the driver. patience: how long anything may
    take (s)."""
    made = check_settings(settings, BridgeSettings, config)
    check_registered(settings, registry.BRIDGES)
    if example is not None:
        check_example(settings, example)
    await check_import(settings.__module__)
    with tempfile.TemporaryDirectory() as directory:
        context = Context(
            "checking", "berrygate", Path(directory), broker or Endpoint(), lambda event: None,
            codec=registry.codec,
        )  # fmt: skip
        trial = _Trial(made, context, took, patience)
        before = Traces.now()
        with Holding(inspect.getfile(settings)) as holding:
            await trial.delivers()
            holding.judge()
            await trial.takes_odd_values()
            if refused is not None:
                await trial.rejects(refused)
            if denied is not None:
                await trial.is_denied(
                    check_settings(settings, BridgeSettings, {**config, **denied})
                )
            if leave is not None and come is not None:
                await trial.reconnects(leave, come)
            await trial.can_be_cancelled()
            if busy is not None:
                await trial.waits(busy)
        await leaves_nothing(before, "connect(), once it is left,", patience)


class _Trial:
    def __init__(
        self, settings: BridgeSettings, context: Context, took: Callable[[], int], patience: float
    ) -> None:
        self._settings = settings
        self._context = context
        self._took = took
        self._patience = patience
        self._bridge = self._built(settings)

    def _built(self, settings: BridgeSettings) -> Bridge[Any]:
        bridge = check_building(lambda: settings.build(_NAME, self._context))
        if getattr(bridge, "name", None) != _NAME:
            unfit(f"build() gives {bridge!r}", "self.name = name, as build() is given")
        if not inspect.iscoroutinefunction(getattr(bridge, "send", None)):
            unfit("there is no send()", "async def send(self, conn, batch): …")
        if isinstance(bridge, Endpoints):
            for each in bridge.endpoints:
                check_secrecy(settings, each, "endpoints")
        found: Bridge[Any] = bridge
        return found

    async def delivers(self) -> None:
        """What was sent has arrived once send() returns; with two at a time where it may."""
        count = min(self._settings.pool.max, 2)
        before = await do(self._took)
        await asyncio.gather(*(self._send_twice(lane) for lane in range(count)))
        await self._arrived(before + 2 * count * len(batch(0)))

    async def _send_twice(self, lane: int) -> None:
        async with self._connected() as conn:
            for number in range(2):
                await self._sent(conn, batch(2 * lane + number), "readings as any sensor has them")
            if isinstance(self._bridge, Checkable):
                await self._meaning(self._bridge.check(conn), "check() where all is well", ())
            await self._meaning(self._bridge.send(conn, Batch(1, 1, [])), "send() of nothing", ())

    async def takes_odd_values(self) -> None:
        """Every value that a reading may have is taken, or rejected by its place."""
        for values in ODD:
            async with self._connected() as conn:
                work = batch(0, values)
                error = await self._meaning(
                    self._bridge.send(conn, work), f"send() of {values!r}", (Rejected,)
                )
                if isinstance(error, Rejected):
                    check_indices(error, len(work))

    async def rejects(self, refused: Mapping[str, Value]) -> None:
        """Of a batch the bad are named and the good are taken; or none is, and it is bisected."""
        work, bad = mixed(refused)
        before = await do(self._took)
        async with self._connected() as conn:
            what = "send() of a batch of which the other side does not take two"
            error = await self._meaning(self._bridge.send(conn, work), what, (Rejected,))
            if not isinstance(error, Rejected):
                unfit(f"{what} raises nothing", "look at the answer, and raise Rejected(indices=…)")
            check_indices(error, len(work))
        if error.indices is not None:
            if sorted(error.indices) != bad:
                fix = "indices are places in batch.readings, from 0"
                unfit(f"Rejected names {list(error.indices)}; it was {bad}", fix)
            await self._arrived(before + len(work) - len(bad))
            return
        await asyncio.sleep(_TOO_MANY)
        if await do(self._took) > before:
            fix = "name them: indices=…; or let the other side take all or nothing"
            unfit("Rejected names none, which means that none was taken, and some were", fix)
        for place in range(len(work)):
            async with self._connected() as conn:
                what = f"send() of reading {place} of that batch alone"
                allowed = (Rejected,) if place in bad else ()
                error = await self._meaning(
                    self._bridge.send(conn, work.part(place, place + 1)), what, allowed
                )
                if place in bad and error is None:
                    unfit(f"{what} raises nothing", "raise Rejected")

    async def is_denied(self, settings: BridgeSettings) -> None:
        """Whoever is not let in is told so, in whichever step it comes out."""
        work, bridge = batch(0), self._built(settings)
        what = "without being let in, connect() and send()"

        async def attempt() -> None:
            async with bridge.connect() as conn:
                await bridge.send(conn, work)

        error = await self._meaning(attempt(), what, (Denied,))
        if error is None:
            unfit(f"{what} raise nothing", "raise Denied where credentials are refused")
        check_secrecy(settings, f"{error} {error.fix}", "the text of an error")

    async def reconnects(self, leave: Does, come: Does) -> None:
        """While the other side is away that is said; afterwards it works again."""
        async with self._connected() as conn:
            await self._sent(conn, batch(0), "readings")
            await do(leave)
            what = "while the other side is gone, send()"
            error = await self._meaning(self._bridge.send(conn, batch(1)), what, (Unavailable,))
            if error is None:
                unfit(
                    f"{what} raises nothing: the readings would be taken for delivered",
                    "return only once the other side has acknowledged them",
                )
        what = "while the other side is gone, connect() and send()"
        if await self._meaning(self._connect_and_send(batch(1)), what, (Unavailable,)) is None:
            unfit(f"{what} raise nothing", "raise Unavailable")
        await do(come)
        before = await do(self._took)
        deadline = time.monotonic() + self._patience
        what = "once the other side is back, connect() and send()"
        while error := await self._meaning(self._connect_and_send(batch(2)), what, (Unavailable,)):
            if time.monotonic() > deadline:
                unfit(f"{what} still raise {error}", "keep nothing of a connection that was lost")
            await asyncio.sleep(0.2)
        await self._arrived(before + 1)

    async def can_be_cancelled(self) -> None:
        """A write is given up when the gateway ends, or has no more patience."""
        async with self._connected() as conn:
            task = asyncio.ensure_future(self._bridge.send(conn, batch(0)))
            await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=self._patience)
            if not done:
                unfit("send() cannot be cancelled", "let CancelledError pass")
            if not task.cancelled() and (error := task.exception()) is not None:
                unfit(f"send(), cancelled, raises {error!r}", "let CancelledError pass")
        async with self._connected() as conn:
            await self._sent(conn, batch(0), "after a send() that was cancelled, readings")

    async def waits(self, busy: Does) -> None:
        """A request for a pause is passed on."""
        await do(busy)
        what = "asked for a pause by the other side, send()"
        error = await self._meaning(self._connect_and_send(batch(0)), what, (Throttled,))
        if not isinstance(error, Throttled):
            unfit(f"{what} raises nothing", "raise Throttled(…, after=seconds)")
        if not error.after > 0:
            unfit(f"Throttled says after={error.after}", "seconds, from Retry-After or the like")

    # -- parts ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection, where there is no reason for none."""
        conn: list[Any] = []

        async def enter() -> None:
            conn.append(await stack.enter_async_context(self._opening()))

        async with AsyncExitStack() as stack:
            await self._meaning(enter(), "connect()", ())
            yield conn[0]

    def _opening(self) -> AbstractAsyncContextManager[Any]:
        made = self._bridge.connect()
        if not isinstance(made, AbstractAsyncContextManager):
            unfit(f"connect() gives {made!r}", "@asynccontextmanager above async def connect(self)")
        return made

    async def _connect_and_send(self, work: Batch) -> None:
        async with self._opening() as conn:
            await self._bridge.send(conn, work)

    async def _sent(self, conn: Any, work: Batch, what: str) -> None:
        copy: Sequence[Reading] = list(work.readings)
        await self._meaning(self._bridge.send(conn, work), f"send() of {what}", ())
        check_unchanged(work, copy)

    async def _meaning(
        self, work: Any, what: str, allowed: tuple[type[BerrygateError], ...]
    ) -> BerrygateError | None:
        """What `work` raised, if that is allowed. Raises Unfit."""
        try:
            async with asyncio.timeout(self._patience) as limit:
                await work
        except allowed as error:
            check_secrecy(self._settings, f"{error} {error.fix}", "the text of an error")
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            if limit.expired():
                fix = "give up earlier, and raise Unavailable"
                unfit(f"{what} does not end within {self._patience:g} s", fix)
            names = " or ".join(each.__name__ for each in allowed)
            fix = f"raise {names}" if allowed else "it should just work; look at the answer"
            if not isinstance(error, BerrygateError):
                fix = f"say what it means: {names or _MEANINGS}"
            unfit(f"{what} raises {type(error).__name__}: {error}", fix)
        return None

    async def _arrived(self, count: int) -> None:
        deadline = time.monotonic() + self._patience
        while (found := await do(self._took)) < count and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if found < count:
            unfit(
                f"send() returned, and the other side has {found} readings of {count}",
                "return only once the other side has them all; raise Rejected for those it refused",
            )
