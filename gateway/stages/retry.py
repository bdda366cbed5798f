"""Error recovery around a bridge: what the error tree says happens next, happens here.

Unavailable: pause and try again; pauses are exponential with full jitter, so that a fleet whose
sink comes back does not return as one (M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015). Throttled: at least as long as asked. Denied: the longest pause, for a
person must act first. Rejected: dead letters for the records to blame, found by bisection where
the sink does not name them.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from gateway.core.contracts import Batch, Reading, Send
from gateway.core.errors import Denied, Rejected, Throttled, Unavailable
from gateway.core.settings import RetrySettings
from gateway.stages.breaker import BreakerOpen

log = logging.getLogger(__name__)

DeadLetter = Callable[[list[Reading], str], Awaitable[None]]
"""Stores readings as dead letters, durably, with a reason."""


class Retry:
    """The retry stage of one bridge; shared by its lanes.

    failing: why the bridge is failing at the moment, or "". next_try: loop time of the next
    attempt of the lane that pauses shortest. denied: whether a person must act first.
    """

    def __init__(self, name: str, settings: RetrySettings, dead_letter: DeadLetter) -> None:
        self.failing = ""
        self.denied = False
        self.next_try = 0.0
        self._name = name
        self._settings = settings
        self._dead_letter = dead_letter
        self._recovered = asyncio.Event()

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send until it is taken; returns once each reading was taken or is a dead letter."""
        attempt = 0
        left = [batch]  # what was taken or given up is never sent again, nor counted again
        while left:
            part = left.pop()
            try:
                await send(part)
            except Rejected as error:
                left += await self._rejected(part, error)
            except (Unavailable, Denied) as error:
                left.append(part)
                attempt += not isinstance(error, BreakerOpen)
                if attempt == self._settings.attempts:
                    for each in reversed(left):
                        await self._give_up(each, each.readings, f"{attempt} attempts: {error}")
                    return
                await self._pause(attempt, error)
            else:
                attempt = 0
        self._succeeded()

    async def _rejected(self, part: Batch, error: Rejected) -> list[Batch]:
        """Dead letters for the records to blame; where they are not named, the halves, the first
        one last."""
        if error.indices is not None:
            why: dict[str, list[Reading]] = {}
            for index in error.indices:
                reason = error.reasons.get(index, str(error))
                why.setdefault(reason, []).append(part.readings[index])
            for reason, blamed in why.items():
                await self._give_up(part, blamed, reason)
            return []
        if len(part) == 1:
            await self._give_up(part, part.readings, str(error))
            return []
        middle = len(part) // 2
        return [part.part(middle, len(part)), part.part(0, middle)]

    async def _give_up(self, batch: Batch, readings: list[Reading], reason: str) -> None:
        await self._dead_letter(readings, reason)
        batch.tally.dead_lettered += len(readings)

    async def _pause(self, attempt: int, error: Unavailable | Denied) -> None:
        if not self.failing:
            log.warning("bridge %s: %s; its readings wait in the journal", self._name, error)
        if not isinstance(error, BreakerOpen):
            self.failing = str(error)  # the cause, not that we are waiting because of it
            self.denied = isinstance(error, Denied)
        self._recovered.clear()
        seconds = self._seconds(attempt, error)
        now = asyncio.get_running_loop().time()
        self.next_try = min(now + seconds, self.next_try) if self.next_try > now else now + seconds
        try:
            # Once one lane got through, the others need not sit out their pauses.
            async with asyncio.timeout(seconds):
                await self._recovered.wait()
        except TimeoutError:
            return

    def _seconds(self, attempt: int, error: Exception) -> float:
        settings = self._settings
        if isinstance(error, Denied):
            return settings.max
        if isinstance(error, BreakerOpen):
            # One call tries, whoever makes it: a longer pause would only delay the recovery.
            return error.after + random.uniform(0, settings.base)
        bound = min(settings.max, settings.base * 2.0 ** min(max(attempt - 1, 0), 32))
        pause = random.uniform(0, bound)
        return error.after + pause if isinstance(error, Throttled) else pause

    def hurry(self) -> None:
        """Try again now: somebody says that it may work."""
        self._recovered.set()

    def _succeeded(self) -> None:
        if self.failing:
            log.warning("bridge %s: recovered", self._name)
            self.failing = ""
            self.denied = False
        self._recovered.set()
