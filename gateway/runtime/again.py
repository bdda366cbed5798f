"""What is sent a second time because somebody asked: dead letters, and stretches of the journal.

It goes through the bridge's own stages and pool, marked historical, and is counted apart from the
ledger: what was counted as delivered or refused when it first went out stays so.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.bus.block import Block
from gateway.bus.bus import Bus
from gateway.bus.records import ReplayRecord
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Batch, Flag, Reading, Send
from gateway.core.errors import Conflict, Unavailable
from gateway.core.events import Event
from gateway.core.ids import device_filter
from gateway.core.settings import BridgeSettings, RetrySettings
from gateway.runtime.beside import live_first
from gateway.stages import compose
from gateway.stages.health import HealthStage
from gateway.stages.next_endpoint import NextEndpoint
from gateway.stages.pool import Pool
from gateway.stages.retry import DeadLetter, Retry

log = logging.getLogger(__name__)

_ONCE = RetrySettings(attempts=1)
_ANSWER = 20.0  # longest that a sink may take for the dead letters of one request (s)
_RATE = 2_000  # most readings a second that a replay sends
_PAUSE = 0.1  # longest that a replay rests between two blocks (s)
_AHEAD = 86_400.0  # how far ahead of ours a device's clock may be, see reading_times.py (s)


@dataclass(slots=True)
class Retried:
    """What became of dead letters that were tried again. taken: their ids. kept: why the others
    stay, by id."""

    taken: list[int] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)


def historical(reading: Reading) -> Reading:
    """The same reading, marked as sent again on request."""
    flags = reading.flags | Flag.HISTORICAL.value
    return msgspec.structs.replace(reading, flags=flags)


def shown(record: ReplayRecord) -> dict[str, Any]:
    """A replay for status and the API; times in epoch ms."""
    whole = record.until - record.begin
    share = (record.position - record.begin) / whole if whole else 1.0
    return {
        "state": record.state,
        "start": record.start // 1_000_000,
        "end": record.end // 1_000_000,
        "devices": record.devices,
        "journal_from": record.reaches // 1_000_000,
        "progress": round(share, 3),
        "sent": record.sent,
        "refused": record.refused,
    }


class Again:
    """The second sendings of one bridge. pool: its endpoints. send: the end of its chain.
    dead_letter: keeps what a replay finds refused. emit: for what happens on the way."""

    def __init__(
        self,
        name: str,
        settings: BridgeSettings,
        bus: Bus,
        pool: Pool[Any],
        send: Send,
        dead_letter: DeadLetter,
        emit: Callable[[Event], None],
        leaves_out: Flag = Flag.NONE,
    ) -> None:
        self._name = name
        self._settings = settings
        self._bus = bus
        self._pool = pool
        self._send = send
        self._emit = emit
        self._leaves_out = leaves_out.value
        self._asked = asyncio.Event()
        self._one = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None
        self._chain = self._stages(Retry(name, settings.retry, dead_letter))

    def _stages(self, retry: Retry) -> Send:
        health = HealthStage(self._name, self._emit)
        return compose([retry, NextEndpoint(self._pool), health], self._send)

    # -- dead letters -----------------------------------------------------------------------

    async def retry(
        self, subscription: Subscription, readings: Sequence[tuple[int, Reading]]
    ) -> Retried:
        """Send readings of dead letters, given with their ids, once. Raises Unavailable where the
        sink does not answer; then all of them stay, and what it took all the same is sent again.
        """
        result = Retried()
        marked = [historical(reading) for _, reading in readings]
        ids = {id(reading): number for reading, (number, _) in zip(marked, readings, strict=True)}

        async def keep(refused: list[Reading], text: str, reason: str) -> None:
            result.kept.update((ids[id(reading)], text) for reading in refused)

        try:
            async with asyncio.timeout(_ANSWER), self._one:
                await self._stages(Retry(self._name, _ONCE, keep))(Batch(0, 0, marked))
        except TimeoutError as error:
            raise Unavailable(f"no answer within {_ANSWER:g} s; the dead letters stay") from error
        result.taken = [number for number, _ in readings if number not in result.kept]
        subscription.ledger.replayed += len(result.taken)
        subscription.moved()
        return result

    # -- replay -----------------------------------------------------------------------------

    async def replay(
        self, subscription: Subscription, start: int, end: int, devices: str
    ) -> ReplayRecord:
        """Begin to send again what the journal has of [start, end), ns, of the devices that match
        a shell pattern. Raises Conflict while another replay runs, ValueError if there is no time
        between start and end."""
        if start >= end:
            raise ValueError("start is not before end")
        if subscription.replay is not None and subscription.replay.state == "running":
            raise Conflict(
                f"bridge {self._name} is replaying already", fix="wait for it, or stop it first"
            )
        # A device's clock may run ahead, so that what it dates `start` came earlier; and what was
        # delayed came later, so that all that follows must be looked at.
        ago = max(time.time_ns() - start, 0) / 1e9 + _AHEAD
        begin = await self._bus.position_of(f"-{ago:.3f}s")
        until = subscription.reached  # what lies behind this is still to be sent anyway
        subscription.replay = record = ReplayRecord(
            start, end, devices, begin, max(until, begin), begin, await self._bus.reaches()
        )
        subscription.moved()
        self._asked.set()
        return record

    def stop(self, subscription: Subscription) -> ReplayRecord:
        """End the replay; what it has sent stays sent. Raises Conflict if none runs."""
        record = subscription.replay
        if record is None or record.state != "running":
            raise Conflict(f"bridge {self._name} is not replaying")
        record.state = "stopped"
        subscription.moved()
        if self._work is not None:
            self._work.cancel()
        return record

    async def run(self, subscription: Subscription) -> None:
        """Replay what is asked for, and what a restart interrupted, until cancelled."""
        while True:
            record = subscription.replay
            if record is not None and record.state == "running":
                await self._guarded(subscription, record)
            await self._asked.wait()
            self._asked.clear()

    async def _guarded(self, subscription: Subscription, record: ReplayRecord) -> None:
        self._work = asyncio.create_task(self._replay(subscription, record))
        try:
            await asyncio.wait([self._work])
        finally:
            self._work.cancel()
        if not self._work.cancelled() and (error := self._work.exception()) is not None:
            # A replay that fails is shown; the live readings go on.
            log.error("bridge %s: the replay failed", self._name, exc_info=error)
            record.state = "failed"
        log.info("bridge %s: replay %s, %d readings sent", self._name, record.state, record.sent)
        subscription.moved()

    async def _replay(self, subscription: Subscription, record: ReplayRecord) -> None:
        matches = device_filter([record.devices])
        size = self._settings.batch.size
        waiting: list[Reading] = []
        began = time.monotonic()
        async with aclosing(self._bus.blocks(record.position, follow=False)) as blocks:  # type: ignore[type-var]
            async for block in blocks:
                if block.first >= record.until:
                    break
                waiting += [
                    historical(reading)
                    for sequence, reading in _part(block, record)
                    if matches(reading.device)
                    and subscription.wants(reading.device)
                    and not reading.flags & self._leaves_out
                    and not subscription.backlog.holds(reading.device, sequence)
                ]
                if len(waiting) >= size:
                    await self._flush(subscription, record, waiting, size)
                if not waiting:
                    record.position = min(block.end, record.until)
                # Reading and decoding a long journal must leave the machine to the live readings.
                await asyncio.sleep(min(3 * (time.monotonic() - began), _PAUSE))
                began = time.monotonic()
        await self._flush(subscription, record, waiting, size)
        record.position = record.until
        record.state = "done"

    async def _flush(
        self,
        subscription: Subscription,
        record: ReplayRecord,
        waiting: list[Reading],
        size: int,
    ) -> None:
        """Send everything that waits; only then may the position move past it."""
        for start in range(0, len(waiting), size):
            await live_first(subscription, size)
            began = time.monotonic()
            batch = Batch(0, 0, waiting[start : start + size])
            async with self._one:
                await self._chain(batch)
            record.sent += batch.tally.delivered
            record.refused += batch.tally.dead_lettered
            subscription.ledger.replayed += batch.tally.delivered
            subscription.moved()
            # A longer pause than it took: at most a quarter of the sink's time is ours.
            await asyncio.sleep(max(3 * (time.monotonic() - began), len(batch) / _RATE))
        waiting.clear()


def _part(block: Block, record: ReplayRecord) -> Sequence[tuple[int, Reading]]:
    """The readings of a block that lie in a replay's stretch of the journal and of time, with their
    sequences."""
    first, last = max(record.position - block.first, 0), record.until - block.first
    start, end = record.start, record.end
    return [
        (sequence, reading)
        for sequence, reading in enumerate(block.readings[first:last], block.first + first)
        if start <= reading.time < end
    ]
