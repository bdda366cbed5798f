"""What goes out beside what is new, and gives way to it: a backlog that was set aside, a replay."""

import asyncio
from collections.abc import Callable

from gateway.bus.bus import Bus
from gateway.bus.lane import Lane
from gateway.bus.subscription import Subscription
from gateway.core.settings import BridgeSettings

_LOOK = 0.1  # how often one looks whether live readings have come through (s)


async def live_first(subscription: Subscription, size: int) -> None:
    """Wait while live readings have piled up: what is old has time."""
    most = 2 * size * len(subscription.lanes)
    while subscription.ahead > most:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK)


class Beside:
    """When a bridge sets readings aside, and when their turn comes; see retry.fresh_first. away:
    whether nothing goes out."""

    def __init__(self, settings: BridgeSettings, bus: Bus, away: Callable[[], bool]) -> None:
        self._settings = settings
        self._bus = bus
        self._away = away

    @property
    def wanted(self) -> bool:
        """Whether the bridge asks for it."""
        return self._settings.retry.fresh_first != "never"

    def old(self, lane: Lane) -> bool:
        """Whether what a lane has in hand was stored too long ago: by our own clock, for a device's
        may be wrong."""
        most = self._settings.retry.fresh_first
        if most == "never":
            return False
        journal = self._bus.journal
        age = (journal.now() - journal.times.of(lane.stored)) / 1e9
        return age > most + self._settings.batch.wait

    def tried(self, subscription: Subscription) -> bool:
        """Whether the bridge does not get through, and what is new finds out when it does."""
        return self._away() and any(lane.in_flight for lane in subscription.lanes)

    async def turn(self, subscription: Subscription) -> None:
        """Wait until what was set aside may go on."""
        while self.tried(subscription):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        await live_first(subscription, self._settings.batch.size)
