"""Calls that block: as many threads as calls at a time, and never without bound."""

import asyncio
import threading

import pytest

from gateway.io import blocking
from gateway.io.blocking import Blocking


async def test_threads_are_used_again() -> None:
    calls = Blocking("again")
    names = {await calls.call(threading.get_ident, 5) for _ in range(20)}
    assert len(names) == 1


async def test_what_a_call_raises_reaches_the_caller() -> None:
    calls = Blocking("raises")
    with pytest.raises(ZeroDivisionError):
        await calls.call(lambda: 1 // 0, 5)
    assert await calls.call(lambda: 1, 5) == 1


async def test_calls_that_never_come_back_do_not_take_threads_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocking, "MOST", 5)
    release, calls = threading.Event(), Blocking("stuck")
    for _ in range(12):
        with pytest.raises(TimeoutError):
            await calls.call(release.wait, 0.02)
    assert sum(thread.name == "stuck" for thread in threading.enumerate()) == 5
    release.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await calls.call(lambda: "well", 1) == "well"
            except TimeoutError:
                await asyncio.sleep(0.01)
            else:
                break
    assert sum(thread.name == "stuck" for thread in threading.enumerate()) == 5
