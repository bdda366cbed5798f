"""Requests that are asked again and again over one line, in turn.

The next request goes out only when the answer to the last is on disk: a device that gives each
value once, and takes the next request for a receipt, loses none by us.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.contracts import Outcome
from gateway.core.errors import Unavailable
from gateway.io.serial.asking import Asking

log = logging.getLogger(__name__)

_SLOWEST = 30.0  # a request that nobody answers is asked so often at least, or as set (s)
_AGAIN = 0.05  # the pause before a request is tried again (s)

Done = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Poll:
    """A request. every, timeout: s. retries: how often it is tried again at once. answer: what
    the answer begins with. prefix: put before it. confirm: sent when it is on disk, or b""."""

    request: bytes
    every: float
    timeout: float = 1.0
    retries: int = 2
    answer: bytes = b""
    prefix: bytes = b""
    confirm: bytes = b""

    @property
    def label(self) -> str:
        """The request, for people."""
        return self.request.decode("ascii", "backslashreplace").strip()


@dataclass(slots=True)
class _Asked:
    """How it goes with a request. due: s, of the loop. failing: why it is not answered, or "";
    misses: how often it was not, without an answer in between."""

    poll: Poll
    due: float
    answered: int = 0
    unanswered: int = 0
    misses: int = 0
    failing: str = ""

    def next(self, now: float) -> None:
        """When it is due again: on its grid, and rarer the longer nobody answers."""
        every = self.poll.every
        if self.misses:
            self.due = now + min(every * 2.0 ** min(self.misses, 20), max(every, _SLOWEST))
        else:
            self.due += every * max(1, int((now - self.due) // every) + 1)


class Polls:
    """See the module. up: while the line is there. put: hands on an answer, with what is called
    once it is on disk; urgent: nothing comes before that. gather: how long a commit may take (s).
    before: called just before each request is sent. changed: when it goes otherwise than before."""

    def __init__(
        self,
        name: str,
        polls: Sequence[Poll],
        asking: Asking,
        up: asyncio.Event,
        put: Callable[[bytes, Done, bool], None],
        gather: Callable[[], float],
        before: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._name = name
        self._asking = asking
        self._up = up
        self._put = put
        self._gather = gather
        self._before = before
        self._changed = changed
        self._all = [_Asked(poll, 0.0) for poll in polls]

    @property
    def trouble(self) -> str:
        """Why nothing comes: no request is answered."""
        failing = [each for each in self._all if each.failing]
        return failing[0].failing if failing and len(failing) == len(self._all) else ""

    @property
    def concern(self) -> str:
        """Requests that are not answered while others are."""
        failing = [each.failing for each in self._all if each.failing]
        return "; ".join(failing) if len(failing) < len(self._all) else ""

    def details(self) -> list[dict[str, Any]]:
        """For the status."""
        return [
            {
                "request": each.poll.label,
                "answered": each.answered,
                "unanswered": each.unanswered,
                "failing": each.failing or None,
            }
            for each in self._all
        ]

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        for each in self._all:
            each.due = loop.time()
        while True:
            each = min(self._all, key=lambda asked: asked.due)
            await asyncio.sleep(max(each.due - loop.time(), 0))
            await self._up.wait()
            await self._one(each)
            each.next(loop.time())

    async def _one(self, each: _Asked) -> None:
        poll = each.poll
        try:
            answer = await self._answer(poll)
        except Unavailable as error:
            if self._up.is_set():  # else that is what is wrong
                each.unanswered += 1
                each.misses += 1
                self._fails(each, f'"{poll.label}": {error}')
            return
        each.answered += 1
        each.misses = 0
        self._fails(each, "")
        await self._stored(poll.prefix + answer, each)
        if poll.confirm:
            try:
                await self._asking.send(poll.confirm, poll.timeout)
            except Unavailable as error:
                log.info("device %s: not confirmed, so it may come again: %s", self._name, error)

    async def _answer(self, poll: Poll) -> bytes:
        """Raises Unavailable."""
        tries = poll.retries
        while True:
            try:
                return await self._asking.ask(
                    poll.request, lambda f: f.startswith(poll.answer), poll.timeout, self._before
                )
            except Unavailable:
                if not tries or not self._up.is_set():
                    raise
                tries -= 1
            await asyncio.sleep(_AGAIN)

    async def _stored(self, payload: bytes, each: _Asked) -> None:
        """Hand on an answer, and wait until it is on disk."""
        loop, stored = asyncio.get_running_loop(), asyncio.Event()
        each_due = [asked.due + (asked.poll.every if asked is each else 0) for asked in self._all]
        urgent = bool(each.poll.confirm) or min(each_due) < loop.time() + self._gather()
        self._put(payload, lambda outcome: stored.set(), urgent)
        await stored.wait()

    def _fails(self, each: _Asked, reason: str) -> None:
        if each.failing == reason:
            return
        if bool(each.failing) != bool(reason):
            text = reason or f'"{each.poll.label}" is answered again'
            log.warning("device %s: %s", self._name, text)
        each.failing = reason
        self._changed()
