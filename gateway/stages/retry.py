"""Error recovery around a bridge: what the error tree says happens next, happens here.

Unavailable: pause and try again; see strategies for how long, and backoff for what lanes and
bridges that send to one place know of each other. Throttled: nobody of this bridge asks before the
time that was asked for. Denied: the longest pause, for a person must act first; after `denied` of
them the bridge stops and asks for one. Rejected: dead letters for the records to blame, found by
bisection where the sink does not name them. Unknown: tried `unknown` times, then bisected; where
nothing at all gets through it is not the records, and the bridge stops.

A page with a picture: docs/stages/retry.md.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.core.contracts import Batch, Reading, Send
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable, Unknown
from gateway.core.settings import RetrySettings
from gateway.stages.backoff import Place
from gateway.stages.breaker import BreakerOpen
from gateway.stages.strategies import strategy
from gateway.stages.troubles import Troubles

log = logging.getLogger(__name__)

MOST_BLAMED = 20
"""Readings in a row that unknown errors are blamed on before it is said to be the driver."""
_WOKEN_IN_VAIN = 8  # so many times `base` is then the longest pause, in which nobody is listened to

DeadLetter = Callable[[list[Reading], str, str], Awaitable[None]]
"""Stores readings as dead letters, durably: a text that says why, and a word (rejected; attempts:
they were used up; unknown)."""


@dataclass(slots=True)
class _Work:
    """A batch in this stage. left: parts that are to be sent, the first one last; what was taken or
    given up is never sent again, nor counted again. attempts: that failed in a row; unknown: those
    of unknown errors; halving: they were enough. pause: the last one (s); failed_at: loop time of
    the last failure. woken: another's success ended the pause; deaf: and it was in vain."""

    left: list[Batch]
    attempts: int = 0
    unknown: int = 0
    halving: bool = False
    pause: float = 0.0
    failed_at: float = 0.0
    woken: bool = False
    deaf: bool = False

    def halve(self) -> None:
        """The part that is next in two."""
        part = self.left.pop()
        middle = len(part) // 2
        self.left += [part.part(middle, len(part)), part.part(0, middle)]


class Retry:
    """The retry stage of one bridge; shared by its lanes. place: where it sends. stop: lets nothing
    more be sent until `hurry`; without it the bridge goes on trying. elsewhere: why readings go out
    through another bridge at the moment, or "".

    failing: why the bridge is failing at the moment, or "". next_try: loop time of the next
    attempt of the lane that pauses shortest. denied: whether a person must act first. stopped:
    whether it has stopped and waits for one.
    """

    def __init__(
        self,
        name: str,
        settings: RetrySettings,
        dead_letter: DeadLetter,
        place: Place | None = None,
        stop: Callable[[], None] | None = None,
        elsewhere: Callable[[], str] = str,
    ) -> None:
        self.failing = ""
        self.denied = False
        self.stopped = False
        self.next_try = 0.0
        self.troubles = Troubles()
        self._name = name
        self._settings = settings
        self._dead_letter = dead_letter
        self._place = place or Place()
        self._stop = stop
        self._elsewhere = elsewhere
        self._strategy = strategy(settings)
        self._not_before = 0.0  # loop time that the other side has asked for
        self._denials = 0
        self._blamed = 0

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send until it is taken; returns once each reading was taken or is a dead letter."""
        work = _Work([batch])
        while work.left:
            if work.attempts or self._not_before:
                await self._turn(work)
            part = work.left[-1]
            try:
                await send(part)
            except BerrygateError as error:
                await self._failed(work, error)
            else:
                work.left.pop()
                work.attempts, work.pause, work.woken, work.deaf = 0, 0.0, False, False
                self._got_through()

    def hurry(self) -> None:
        """Try again now: somebody says that it may work."""
        self.troubles.aided()
        self.stopped = False
        self._not_before = 0.0
        self._denials = self._blamed = 0
        self._place.hurry(self)

    # -- after a failure --------------------------------------------------------------------

    async def _failed(self, work: _Work, error: BerrygateError) -> None:
        """The part that is next was not taken, or not all of it."""
        if isinstance(error, BreakerOpen):  # nothing was attempted
            await self._pause(work, error)
            return
        self.troubles.failed(error)
        if isinstance(error, Rejected):
            await self._rejected(work, error)
            self._is_there()
        elif isinstance(error, Unknown) and work.halving:
            await self._halve(work, error)
        elif isinstance(error, Unavailable | Denied | Unknown):
            await self._again(work, error)
        else:
            raise error

    async def _rejected(self, work: _Work, error: Rejected) -> None:
        """Dead letters for the records to blame; where they are not named, the halves are next."""
        part = work.left[-1]
        if error.indices is None and len(part) > 1:
            work.halve()
            return
        work.left.pop()
        why: dict[str, list[Reading]] = {}
        for index in range(len(part)) if error.indices is None else error.indices:
            why.setdefault(error.reasons.get(index, str(error)), []).append(part.readings[index])
        for reason, blamed in why.items():
            await self._give_up(part, blamed, reason, "rejected")

    async def _again(self, work: _Work, error: Unavailable | Denied | Unknown) -> None:
        """Pause, unless it was tried often enough."""
        work.attempts += error.attempts
        most = self._settings.attempts
        if most != "forever" and work.attempts >= most:
            text = f"{work.attempts} attempts: {error}"
            while work.left:
                part = work.left.pop()
                await self._give_up(part, part.readings, text, "attempts")
            return
        if isinstance(error, Unknown):
            work.unknown += 1
            work.halving = work.unknown >= self._settings.unknown
            if work.halving:
                await self._halve(work, error)
                return
        if isinstance(error, Denied):
            self._denials += 1
            if self._denials == self._settings.denied:
                self._ask(f"refused {self._denials} times: {error}")
        await self._pause(work, error)

    async def _halve(self, work: _Work, error: Unknown) -> None:
        """Look for the records to blame. Where nothing gets through any more it is not they."""
        part = work.left[-1]
        if len(part) > 1:
            work.halve()
            return
        self._blamed += 1
        if self._blamed <= MOST_BLAMED:
            work.left.pop()
            await self._give_up(part, part.readings, str(error), "unknown")
            return
        work.halving, work.unknown = False, 0
        self._ask(f"the driver fails on everything: {error}")
        await self._pause(work, error)

    async def _give_up(self, batch: Batch, readings: list[Reading], text: str, reason: str) -> None:
        await self._dead_letter(readings, text, reason)
        batch.tally.dead_lettered += len(readings)

    def _ask(self, why: str) -> None:
        """Stop, keep everything, and say what a person has to do."""
        if self._stop is None or self.stopped:
            return
        self.failing = f"{why}; stopped: correct this, then: berrygate bridges resume {self._name}"
        self.denied = self.stopped = True
        log.error("bridge %s: %s", self._name, self.failing)
        self._stop()

    # -- pauses -----------------------------------------------------------------------------

    async def _pause(self, work: _Work, error: BerrygateError) -> None:
        """Wait as long as this error asks for."""
        if not self.failing:
            log.warning("bridge %s: %s; its readings wait in the journal", self._name, error)
        work.failed_at = asyncio.get_running_loop().time()
        work.pause = self._seconds(work, error)
        if isinstance(error, BreakerOpen):
            # Not the cause, only that we wait because of it; whoever gets through has closed it,
            # and one that heeds nobody would sit out all of `reset`.
            work.deaf = False
        else:
            self._note(work, error)
        await self._wait(work, work.pause)

    def _note(self, work: _Work, error: BerrygateError) -> None:
        """What this failure says to people, to the other lanes, and of being woken."""
        if not self.stopped:
            self.failing, self.denied = str(error), isinstance(error, Denied)
        if isinstance(error, Throttled):
            self._not_before = max(self._not_before, work.failed_at + error.after)
        elif isinstance(error, Unavailable):
            work.failed_at = self._place.failed()
        work.deaf = work.woken
        if work.deaf:
            work.pause = min(work.pause, _WOKEN_IN_VAIN * self._settings.base)

    def _seconds(self, work: _Work, error: BerrygateError) -> float:
        if isinstance(error, Denied):
            return self._settings.max
        if isinstance(error, BreakerOpen):
            # One call tries, whoever makes it: a longer pause would only delay the recovery.
            return error.after + random.uniform(0, self._settings.base)
        pause = self._strategy.pause(work.attempts, work.pause)
        return error.after + pause if isinstance(error, Throttled) else pause

    async def _turn(self, work: _Work) -> None:
        """Wait while the other side has asked for that, or somebody else has just failed."""
        loop = asyncio.get_running_loop()
        while True:
            left = self._not_before - loop.time()
            if left > 0:
                await self._wait(work, left + random.uniform(0, self._settings.base))
                continue
            self._not_before = 0.0
            just = self._place.failed_since(work.failed_at, work.pause / 2)
            if work.woken or not work.attempts or not just:
                return
            work.failed_at = self._place.failed_at
            await self._wait(work, random.uniform(work.pause / 2, work.pause))

    async def _wait(self, work: _Work, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self.next_try = min(now + seconds, self.next_try) if self.next_try > now else now + seconds
        base = self._settings.base
        work.woken = await self._place.pause(self, seconds, heeds=not work.deaf, base=base)

    # -- when it works ----------------------------------------------------------------------

    def _got_through(self) -> None:
        self._denials = self._blamed = 0
        self._strategy.succeeded()
        self._is_there()

    def _is_there(self) -> None:
        """The other side has answered, whatever it said of the records."""
        if why := self._elsewhere():  # not this one's
            self.failing = why
            return
        if self.failing:
            log.warning("bridge %s: recovered", self._name)
            self.failing = ""
            self.denied = self.stopped = False
        self.troubles.recovered()
        self._place.succeeded()
