"""Bursts reach the loop in order, with one wake-up for many, and what waits is bounded."""

import asyncio
import threading

import pytest

from gateway.core.contracts import Burst
from gateway.io.mqtt import handover as mqtt_handover
from gateway.io.mqtt.handover import Handover


async def test_in_order_from_another_thread() -> None:
    handover = Handover()
    handover.bind(asyncio.get_running_loop())

    def put() -> None:
        for number in range(5_000):
            handover.put(Burst(number, ["t"], [b"x"]))

    thread = threading.Thread(target=put)
    thread.start()
    seen: list[int] = []
    async with asyncio.timeout(20):
        while len(seen) < 5_000:
            seen += [burst.received for burst in await handover.take()]
    thread.join()
    assert seen == list(range(5_000))


async def test_one_wake_up_for_what_gathered() -> None:
    loop, handover = asyncio.get_running_loop(), Handover()
    woken = 0
    real = loop.call_soon_threadsafe

    class Counting:
        def is_closed(self) -> bool:
            return False

        def call_soon_threadsafe(self, *args: object) -> None:
            nonlocal woken
            woken += 1
            real(*args)  # type: ignore[arg-type]

    handover.bind(Counting())  # type: ignore[arg-type]
    for number in range(100):
        handover.put(Burst(number, ["t"], [b"x"]))
    assert woken == 1
    assert len(await handover.take()) == 100
    handover.put(Burst(0, ["t"], [b"x"]))
    assert woken == 2


async def test_full_by_frames_or_by_bytes_until_taken() -> None:
    for most, size, payload in ((3, 10**9, b"x"), (10**9, 300, b"x" * 100)):
        handover = Handover(most, size)
        handover.bind(asyncio.get_running_loop())
        for _ in range(2):
            handover.put(Burst(0, ["t"], [payload]))
        assert not handover.full
        handover.put(Burst(0, ["t"], [payload]))
        assert handover.full
        await handover.take()
        assert not handover.full


def test_a_loop_that_has_ended_is_left_alone() -> None:
    handover = Handover()
    loop = asyncio.new_event_loop()
    handover.bind(loop)
    loop.close()
    handover.put(Burst(0, ["t"], [b"x"]))


async def test_the_network_thread_is_held_while_too_many_bytes_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt_handover, "_HOLD", 60.0)
    handover = Handover(size=10)
    handover.bind(asyncio.get_running_loop())
    handover.put(Burst(0, ["a"], [b"12345"]))
    handover.hold()  # there is room
    handover.put(Burst(0, ["a"], [b"67890"]))
    held = threading.Thread(target=handover.hold, daemon=True)
    held.start()
    await asyncio.sleep(0.1)
    assert held.is_alive()
    assert len(await handover.take()) == 2
    await asyncio.to_thread(held.join, 10)
    assert not held.is_alive()
