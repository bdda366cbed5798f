"""Connections are opened when needed, used again, and thrown away when they may be broken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.core.settings import PoolSettings
from gateway.stages.breaker import Breaker, BreakerOpen, BreakerState
from gateway.stages.endpoints import PoolEndpoint
from gateway.stages.pool import Pool
from gateway.stages.upkeep import Upkeep


def pool_with(connect: Any, failures: int = 3, **settings: Any) -> Pool[int]:
    """A pool with one endpoint."""
    endpoint = PoolEndpoint("it", connect, Breaker(failures, 60.0))
    return Pool([endpoint], PoolSettings.model_validate({"max": 2, **settings}))


class Connections:
    """Counts what is opened and closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.refuse = False

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[int]:
        if self.refuse:
            raise Unavailable("refused")
        self.opened += 1
        try:
            yield self.opened
        finally:
            self.closed += 1

    def pool(self, size: int = 2, **settings: Any) -> Pool[int]:
        return pool_with(self.connect, max=size, **settings)


async def test_a_connection_is_used_again() -> None:
    connections = Connections()
    pool = connections.pool()
    for _ in range(5):
        async with pool.acquire() as number:
            assert number == 1
    await pool.close()
    assert (connections.opened, connections.closed) == (1, 1)


async def test_no_more_than_its_size() -> None:
    connections = Connections()
    pool = connections.pool(2)
    most = 0

    async def use() -> None:
        nonlocal most
        async with pool.acquire():
            most = max(most, pool.busy)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(use() for _ in range(10)))
    assert most == 2
    assert connections.opened == 2
    assert pool.idle == 2


async def test_a_failed_connection_is_not_lent_again() -> None:
    connections = Connections()
    pool = connections.pool()
    with pytest.raises(Unavailable):
        async with pool.acquire():
            raise Unavailable("reset")
    assert (connections.closed, pool.idle, pool.busy) == (1, 0, 0)


async def test_a_rejected_batch_says_nothing_against_the_connection() -> None:
    connections = Connections()
    pool = connections.pool()
    for _ in range(5):
        with pytest.raises(Rejected):
            async with pool.acquire():
                raise Rejected("bad value")
    assert (connections.opened, pool.idle) == (1, 1)


async def test_the_breaker_spares_an_endpoint_that_is_down() -> None:
    connections = Connections()
    connections.refuse = True
    pool = connections.pool()
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with pool.acquire():
                pass
    with pytest.raises(BreakerOpen):
        async with pool.acquire():
            pass


async def test_a_cancelled_use_gives_its_place_back() -> None:
    connections = Connections()
    pool = connections.pool(1)

    async def use() -> None:
        async with pool.acquire():
            await asyncio.sleep(60)

    task = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), pool.acquire():
        assert connections.closed == 1


async def test_warm_connections_are_there_before_they_are_needed() -> None:
    connections = Connections()
    pool = connections.pool(3, min=2)
    await Upkeep("it", pool).once()
    assert pool.idle == 2
    connections.refuse = True
    pool.settings = PoolSettings(min=3, max=3)
    await Upkeep("it", pool).once()  # a failure is no news here
    assert pool.idle == 2
    await pool.close()


@pytest.mark.parametrize("error", [OSError("no route"), TimeoutError(), Denied("no")])
async def test_every_failure_of_the_endpoint_counts_for_the_breaker(error: Exception) -> None:
    connections = Connections()
    pool = connections.pool()
    for _ in range(3):
        with pytest.raises(type(error)):
            async with pool.acquire():
                raise error
    assert pool.breaker.state is BreakerState.OPEN


async def test_rejected_batches_never_open_the_breaker() -> None:
    pool = Connections().pool()
    for _ in range(2):
        with pytest.raises(Unavailable):
            async with pool.acquire():
                raise Unavailable("reset")
    for _ in range(50):
        with pytest.raises(Rejected):
            async with pool.acquire():
                raise Rejected("bad value")
    with pytest.raises(Unavailable):
        async with pool.acquire():
            raise Unavailable("reset")
    assert pool.breaker.state is BreakerState.CLOSED  # what was rejected began the count anew


class Stubborn:
    """Connections that fail to open, or that never close."""

    def __init__(self, opening: Exception | None = None, closing: Exception | None = None) -> None:
        self.opening = opening
        self.closing = closing

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[int]:
        if self.opening:
            raise self.opening
        try:
            yield 1
        finally:
            if self.closing:
                raise self.closing
            await asyncio.sleep(3600)


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("a driver's bug")])
async def test_a_driver_that_cannot_connect_does_not_end_the_bridge(error: Exception) -> None:
    pool = pool_with(Stubborn(opening=error).connect)
    await Upkeep("it", pool).once()
    assert pool.idle == 0


async def test_a_connection_that_never_closes_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.stages.pool.CLOSE_TIMEOUT", 0.05)
    pool = pool_with(Stubborn().connect, max=1)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="reset"):
            async with pool.acquire():
                raise Unavailable("reset")
        async with pool.acquire():
            pass
        await pool.close()
    assert pool.idle == 0


async def test_an_error_while_closing_does_not_hide_why_it_was_closed() -> None:
    pool = pool_with(Stubborn(closing=OSError("bad descriptor")).connect)
    with pytest.raises(Denied, match="wrong token"):
        async with pool.acquire():
            raise Denied("wrong token")


async def test_a_connect_that_hangs_is_given_up() -> None:
    @asynccontextmanager
    async def hangs() -> AsyncIterator[int]:
        await asyncio.sleep(3600)
        yield 1

    pool = pool_with(hangs, failures=2, connect_timeout="50ms")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"no connection within 0\.05 s"):
            async with pool.acquire():
                pass
    assert pool.breaker.state is BreakerState.OPEN
