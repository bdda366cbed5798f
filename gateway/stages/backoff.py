"""What all who send to one place know of it together: the lanes of a bridge, and bridges to the
same server. A place that is down is asked about as often as one client would ask, however many wait
for it; and when it is back they return one after another and not as one.

Each waits its own pause (see strategies). When it is over and somebody else has failed since,
within half of that pause, their failure is taken for one's own and nothing is asked. A success of
anybody ends the pauses of the others early, each at a random moment.
"""

import asyncio
import math
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from gateway.core.settings import BridgeSettings

_SPREAD = 1.0  # within so long those who waited for a place return (s), or within the base


@dataclass(eq=False, slots=True)
class _Pause:
    """One of those who wait. owner: which bridge. heeds: whether another's success ends it."""

    owner: object
    heeds: bool
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: bool = False


class Place:
    """Where bridges send. failed_at: loop time of the last failure of anybody."""

    def __init__(self) -> None:
        self.failed_at = -math.inf
        self._waiting: set[_Pause] = set()

    def failed(self) -> float:
        """Somebody could not reach it; the time of that."""
        self.failed_at = asyncio.get_running_loop().time()
        return self.failed_at

    def succeeded(self) -> None:
        """Somebody got through: those who heed that may try."""
        self.failed_at = -math.inf
        for pause in self._waiting:
            if pause.heeds:
                pause.woken.set()

    def hurry(self, owner: object) -> None:
        """The pauses of one bridge end at once."""
        for pause in self._waiting:
            if pause.owner is owner:
                pause.at_once = True
                pause.woken.set()

    def failed_since(self, when: float, within: float) -> bool:
        """Whether anybody failed after `when`, less than `within` seconds ago."""
        least = asyncio.get_running_loop().time() - within
        return self.failed_at > max(when, least)

    async def pause(self, owner: object, seconds: float, *, heeds: bool, base: float) -> bool:
        """Wait; whether somebody ended it early. heeds: see _Pause. base: within so long after
        another's success this one tries."""
        pause = _Pause(owner, heeds)
        self._waiting.add(pause)
        try:
            async with asyncio.timeout(seconds):
                await pause.woken.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(pause)
        if not pause.at_once:
            await asyncio.sleep(random.uniform(0, min(base, _SPREAD)))
        return True


class Places:
    """The places of one gateway, by server; forgotten with the last bridge that sends there."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Place] = WeakValueDictionary()

    def of(self, settings: BridgeSettings) -> Place:
        """Where that bridge sends; where its settings name no server it is alone there."""
        url: Any = getattr(settings, "url", None)
        server = urlsplit(url).netloc.rpartition("@")[2].lower() if isinstance(url, str) else ""
        if not server:
            return Place()
        place = self._known.get(server)
        if place is None:
            self._known[server] = place = Place()
        return place
