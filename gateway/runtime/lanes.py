"""Lanes at work: each takes batches from the journal and sends them through its stages, one at a
time."""

import asyncio
import time
from collections.abc import Callable

from gateway.bus.backlog import Backlog
from gateway.bus.block import Block
from gateway.bus.lane import Lane
from gateway.core.contracts import Flag, Send
from gateway.core.settings import BridgeSettings
from gateway.runtime.clock import Clock
from gateway.runtime.summaries import summarise
from gateway.stages.fresh_first import SetAside

_GIVE_WAY = 0.05  # longest that a lane with a backlog rests after a write as long (s)
_HOLD = 600.0  # longest that readings wait for the clock (s)


class Lanes:
    """Those of one bridge. flowing: set while a batch may begin. chain: the stages that what a
    reader takes goes through. leaves_out: readings with one of these flags are left out.

    at_work: lanes with a batch on its way. delivered_at: when the last one arrived (ns).
    """

    def __init__(
        self,
        settings: BridgeSettings,
        clock: Clock,
        flowing: asyncio.Event,
        chain: Callable[[Lane | Backlog], Send],
        leaves_out: Flag,
    ) -> None:
        self.at_work = 0
        self.delivered_at = 0
        self._settings = settings
        self._clock = clock
        self._flowing = flowing
        self._chain = chain
        self._leaves_out = leaves_out

    async def work(self, lane: Lane | Backlog) -> None:
        """Deliver what a lane takes, until cancelled."""
        batching, chain = self._settings.batch, self._chain(lane)
        while True:
            batch = await lane.next_batch(batching.size, batching.wait, self._on_hold)
            if not batch:
                await self._clock.wait(self._hold_left())
                continue
            await self._flowing.wait()
            self.at_work += 1
            began, full = time.monotonic(), len(batch) >= batching.size
            try:
                if self._leaves_out:
                    batch.leave_out(self._leaves_out)
                if self._settings.retry.summaries != "never":
                    summarise(batch, self._settings.retry.summaries)
                if batch:
                    await chain(batch)
                lane.done(batch)
            except SetAside:
                continue
            finally:
                self.at_work -= 1
            if full:
                # A backlog: it would take the machine from what comes in and from other bridges.
                await asyncio.sleep(min(time.monotonic() - began, _GIVE_WAY))
            self.delivered_at = time.time_ns()

    def _on_hold(self, block: Block) -> bool:
        """Whether a block has wrong times that will be put right once the clock is set."""
        hold = self._settings.unsynced == "hold" and not self._clock.synced
        return hold and not block.settled and self._hold_left() > 0

    def _hold_left(self) -> float:
        return _HOLD - self._clock.unset_for()
