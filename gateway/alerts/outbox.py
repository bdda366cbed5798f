"""What was decided is sent, in order, channel by channel, until it is taken.

At least once: a message is forgotten when its channel has taken it, so a gateway that is killed
in between sends it again. One that had to wait goes out together with those behind it. How long it
has waited is told by the monotonic clock, and none is given up that was not tried in this run: the
clock is often set in the moment in which the network comes, and would throw away what waits for it.
"""

import asyncio
import logging
import random
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from gateway.alerts.channels import Channel
from gateway.alerts.wording import Notification, merged
from gateway.config.alerting import ChannelSettings
from gateway.core.errors import BerrygateError, Denied

log = logging.getLogger(__name__)

_TOGETHER = 20  # messages that go out as one
_WAITING = 1_000  # that wait for one channel; beyond, the oldest are given up
_FIRST, _LONGEST = 1.0, 60.0  # pauses between attempts (s)
_DENIED = 300.0  # and where a person must act first

Forget = Callable[[Iterable[int]], Awaitable[None]]


class Lane:
    """One channel at work. waiting: what it has not taken. sent, given_up: messages so far.
    failed: attempts that it did not take. trouble: why it takes none at the moment, or ""."""

    def __init__(self, channel: Channel, settings: ChannelSettings, forget: Forget) -> None:
        self.channel = channel
        self.waiting: deque[Notification] = deque()
        self.sent = 0
        self.given_up = 0
        self.failed = 0
        self.trouble = ""
        self._settings = settings
        self._forget = forget
        self._ends: deque[float] = deque()  # when each that waits is given up (monotonic)
        self._done: set[int] = set()  # taken, and perhaps still stored
        self._more = asyncio.Event()
        self._full_at = 0.0
        self._attempt = 0

    def put(self, notification: Notification) -> None:
        """One more."""
        waited = max(time.time_ns() - notification.created, 0) / 1e9
        self.waiting.append(notification)
        self._ends.append(time.monotonic() + self._settings.give_up - waited)
        while len(self.waiting) > _WAITING:
            self._give_up(f"more than {_WAITING} wait")
        self._more.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self.waiting:
                await asyncio.sleep(self._allowed_in())
                await self._send()
            await self._tidy()

    async def _send(self) -> None:
        self._expire()
        together = list(self.waiting)[:_TOGETHER]
        if not together:
            return
        message = merged(together)
        kind = "resolved" if message.kind == "resolved" else message.severity
        try:
            await self.channel.send(message.title, message.body, kind)
        except BerrygateError as error:
            await self._pause(error)
            return
        if self.trouble:
            log.warning("alerts: channel %s takes messages again", self.channel.name)
        self.trouble, self._attempt = "", 0
        self.sent += 1
        self._full_at = max(self._full_at, time.monotonic()) + 3_600.0 / self._settings.rate
        for each in together:
            if self.waiting and self.waiting[0] is each:
                self._first()
            self._done.add(each.id)
        await self._tidy()

    async def _pause(self, error: BerrygateError) -> None:
        if not self.trouble:
            log.warning("alerts: channel %s: %s; its messages wait", self.channel.name, error)
        self.trouble = str(error)
        self.failed += 1
        growing = min(_FIRST * 2.0 ** min(self._attempt, 16), _LONGEST)
        self._attempt += 1
        pause = _DENIED if isinstance(error, Denied) else growing
        await asyncio.sleep(random.uniform(pause / 2, pause))

    def _first(self) -> Notification:
        """Take the oldest out."""
        self._ends.popleft()
        return self.waiting.popleft()

    def _expire(self) -> None:
        while self.trouble and self.waiting and self._ends[0] < time.monotonic():
            self._give_up(f"not taken: {self.trouble}")

    def _give_up(self, why: str) -> None:
        notification = self._first()
        self.given_up += 1
        self._done.add(notification.id)
        log.error("alerts: %s was not told %r: %s", self.channel.name, notification.title, why)

    async def _tidy(self) -> None:
        done, self._done = self._done, set()
        if not done:
            return
        try:
            await self._forget(done)
        except (sqlite3.Error, OSError) as error:
            self._done |= done  # with the next ones; until then a restart sends them again
            log.error("alerts: cannot note what was told: %s", error)

    def _allowed_in(self) -> float:
        """How long (s) until the channel's rate lets another message pass. The generic cell rate
        algorithm (ITU-T I.371)."""
        each, now = 3_600.0 / self._settings.rate, time.monotonic()
        return max(max(self._full_at, now) + each - now - each * self._settings.burst, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """For the API. Never its address."""
        return {
            "name": self.channel.name,
            "service": self.channel.service,
            "state": "failing" if self.trouble else "ok",
            "last_error": self.trouble or None,
            "waiting": len(self.waiting),
            "sent": self.sent,
            "failed": self.failed,
            "given_up": self.given_up,
        }


class Outbox:
    """Every channel's lane, by its name."""

    def __init__(self, channels: Iterable[tuple[Channel, ChannelSettings]], forget: Forget) -> None:
        self.lanes = {
            channel.name: Lane(channel, settings, forget) for channel, settings in channels
        }

    def put(self, notifications: Sequence[Notification]) -> list[int]:
        """To be sent; the ids of those whose channel is there no more."""
        nobody = []
        for each in notifications:
            lane = self.lanes.get(each.channel)
            if lane is None:
                nobody.append(each.id)
            else:
                lane.put(each)
        return nobody

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in self.lanes.values():
                group.create_task(lane.run(), name=f"alerts {lane.channel.name}")
