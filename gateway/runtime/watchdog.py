"""Feeds the service manager's watchdog, only while the pipeline moves (sd_notify(3)).

A process that answers is not yet a gateway that works: a thread that hangs in a write, or a pump
that waits for what never comes, would go unseen for ever. So every part says for how long it could
have got on and has not, and we stop feeding once that is longer than the watchdog's own time. What
waits for good reasons is not stuck: nothing comes in, a sink or the broker is away, the disk
refuses, the clock is not set.

The feeding is done by the event loop; if that hangs, it ends by itself.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.runtime.notify import notify

log = logging.getLogger(__name__)

Stuck = Callable[[], float]
"""For how long (s) a part could have got on and has not; 0.0 if it moves or rightly waits."""

_LOOKS = 6  # within the watchdog's time


class Watchdog:
    """See the module. hanging: the parts that do, and for how long (s)."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.hanging: dict[str, float] = {}
        self._limit = _limit(environ)
        self._parts: list[Callable[[], Mapping[str, float]]] = []

    def watch(self, name: str, stuck: Stuck) -> None:
        """Look at a part from now on."""
        self._parts.append(lambda: {name: stuck()})

    def watch_owed(self, owed: Callable[[], Mapping[str, Any]]) -> None:
        """Look at parts that come and go and have no clock of their own. owed: those that could
        get on at this moment, each with where it stands; one that is owed and stands where it
        stood is stuck."""
        self._parts.append(_unmoved(owed))

    async def run(self, status: Callable[[], str] = lambda: "") -> None:
        """Look and feed until cancelled. status: one line for `systemctl status`.

        Ends at once where nobody asked to be fed.
        """
        while self._limit:
            self.look(status())
            await asyncio.sleep(self._limit / _LOOKS)

    def look(self, status: str = "") -> None:
        """Feed if nothing hangs."""
        before = set(self.hanging)
        found = {name: time for part in self._parts for name, time in part().items()}
        self.hanging = {name: time for name, time in found.items() if time > self._limit}
        for name in before - set(self.hanging):
            log.warning("%s moves again", name)
        for name in set(self.hanging) - before:
            log.critical(
                "%s has not got on for %.0f s; the service manager is to start us again",
                name,
                found[name],
            )
        if self.hanging:
            notify(f"STATUS=hanging: {', '.join(sorted(self.hanging))}")
        else:
            notify("WATCHDOG=1", f"STATUS={status}")


def _limit(environ: Mapping[str, str]) -> float:
    """The watchdog's time (s), 0.0 if nobody asked us (sd_watchdog_enabled(3))."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(int(environ.get("WATCHDOG_USEC", "0")), 0) / 1e6
    except ValueError:
        return 0.0


def _unmoved(owed: Callable[[], Mapping[str, Any]]) -> Callable[[], Mapping[str, float]]:
    """For how long each has stood still, as seen from one call to the next."""
    seen: dict[str, tuple[Any, float]] = {}

    def stuck() -> Mapping[str, float]:
        now, found = time.monotonic(), owed()
        for name in set(seen) - set(found):
            del seen[name]
        for name, mark in found.items():
            if name not in seen or seen[name][0] != mark:
                seen[name] = (mark, now)
        return {name: now - since for name, (_, since) in seen.items()}

    return stuck
