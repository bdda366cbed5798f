"""Connections are opened when needed, used again, and thrown away when they may be broken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.stages.breaker import Breaker, BreakerOpen, BreakerState
from gateway.stages.pool import Pool


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

    def pool(self, size: int = 2) -> Pool[int]:
        return Pool(self.connect, size, Breaker(3, 60.0))


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
    pool = connections.pool()
    await pool.warm(2)
    assert pool.idle == 2
    connections.refuse = True
    await pool.warm(3)  # a failure is no news here
    assert pool.idle == 2


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
    pool = Pool(Stubborn(opening=error).connect, 2, Breaker(3, 60.0))
    await pool.warm(2)
    assert pool.idle == 0


async def test_a_connection_that_never_closes_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.stages.pool.CLOSE_TIMEOUT", 0.05)
    pool = Pool(Stubborn().connect, 1, Breaker(3, 60.0))
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="reset"):
            async with pool.acquire():
                raise Unavailable("reset")
        async with pool.acquire():
            pass
        await pool.close()
    assert pool.idle == 0


async def test_an_error_while_closing_does_not_hide_why_it_was_closed() -> None:
    pool = Pool(Stubborn(closing=OSError("bad descriptor")).connect, 1, Breaker(3, 60.0))
    with pytest.raises(Denied, match="wrong token"):
        async with pool.acquire():
            raise Denied("wrong token")


async def test_a_connect_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.pool.CONNECT_TIMEOUT", 0.05)

    @asynccontextmanager
    async def hangs() -> AsyncIterator[int]:
        await asyncio.sleep(3600)
        yield 1

    pool = Pool(hangs, 1, Breaker(2, 60.0))
    for _ in range(2):
        with pytest.raises(Unavailable, match="no connection"):
            async with pool.acquire():
                pass
    assert pool.breaker.state is BreakerState.OPEN
