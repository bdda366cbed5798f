"""The broker's own count, over its restarts and from a broker that was there before us."""

import asyncio
import threading

import pytest

from gateway.core.events import Event
from gateway.runtime import broker_drops
from gateway.runtime.broker_drops import BrokerDrops


async def told(drops: BrokerDrops, *counts: bytes) -> None:
    for count in counts:
        thread = threading.Thread(target=drops.heard, args=(count,))
        thread.start()
        thread.join()
        await asyncio.sleep(0)


async def test_growth_is_counted_over_restarts() -> None:
    events: list[Event] = []
    drops = BrokerDrops(events.append, known=True)
    assert drops.total is None
    await told(drops, b"0", b"5", b"5", b"9", b"2", b"no number", b"")
    assert (drops.total, drops.recent, len(events)) == (11, 11, 3)


async def test_what_another_broker_lost_before_is_not_ours() -> None:
    drops = BrokerDrops(lambda _: None, known=False)
    await told(drops, b"1000", b"1003")
    assert drops.total == 3


async def test_health_forgets_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    drops = BrokerDrops(lambda _: None, known=True)
    await told(drops, b"7")
    monkeypatch.setattr(broker_drops, "RECENT", -1.0)
    assert (drops.total, drops.recent) == (7, 0)
