"""Calls that block, one at a time."""

import asyncio
import threading

import pytest

from gateway.core.errors import Unavailable
from gateway.io.single import Single


async def test_one_at_a_time_in_one_thread() -> None:
    calls = Single("single", 5.0, "it hangs", "restart it")
    threads = {await calls.run(threading.get_ident) for _ in range(20)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        await calls.run(lambda: 1 / 0)
    assert await calls.run(lambda: 7) == 7


async def test_one_that_hangs_gets_no_second_beside_it() -> None:
    calls, go_on, closed = Single("single", 0.1, "it hangs", "restart it"), threading.Event(), []
    with pytest.raises(Unavailable, match="it hangs") as error:
        await calls.run(go_on.wait)
    assert error.value.fix == "restart it"
    count = threading.active_count()
    with pytest.raises(Unavailable, match="it hangs"):
        await calls.run(lambda: None)
    assert threading.active_count() == count
    await calls.last(lambda: closed.append(threading.get_ident()))  # does not wait
    assert not closed
    go_on.set()
    async with asyncio.timeout(5):
        while not closed:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.01)
    assert await calls.run(lambda: 7) == 7
    await calls.last(lambda: closed.append(0))
    assert closed[1:] == [0]
