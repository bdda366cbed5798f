"""A pool in front of a real PostgreSQL: what the server counts is what the pool says."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import Unavailable
from gateway.stages.breaker import BreakerState
from tests.support.pooling import pooling, until
from tests.support.postgres import Postgres, postgres
from tests.support.sinks import PostgresBridge


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


def numbered(number: int) -> Batch:
    return Batch(0, 0, [Reading("soil", number, {"t": float(number)})])


async def counted(server: Postgres, wanted: int) -> None:
    """Wait until the server has so many connections of ours."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(server.connections) != wanted:
            await asyncio.sleep(0.02)


async def test_no_connection_is_left_behind(server: Postgres) -> None:
    bridge = PostgresBridge(server.dsn, [server.port])
    async with pooling(bridge, min=1, max=4, idle="400ms") as pool:
        before = server.ask("SELECT count(*) FROM readings")
        await asyncio.gather(*(pool.send(bridge, numbered(n)) for n in range(200)))
        assert server.ask("SELECT count(*) FROM readings") == before + 200
        assert pool.opened <= 4
        await counted(server, 1)  # it shrinks to min
        work = [asyncio.create_task(pool.send(bridge, numbered(n))) for n in range(40)]
        await asyncio.sleep(0.005)
        for task in work[::2]:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await counted(server, 1)
    await counted(server, 0)


async def test_a_restart_is_noticed_without_a_failed_write(server: Postgres) -> None:
    bridge = PostgresBridge(server.dsn, [server.port])
    async with pooling(bridge, min=2, max=2, check="200ms") as pool:
        await until(lambda: pool.idle == 2)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await until(lambda: pool.closed["check"] >= 2 and pool.idle == 2, timeout=60)
        for n in range(10):
            await pool.send(bridge, numbered(n))
        assert pool.closed["failed"] == 0


async def test_why_the_server_lets_nobody_in_is_shown(server: Postgres) -> None:
    bridge = PostgresBridge(server.dsn.replace("sesame", "wrong"), [server.port])
    retry = {"breaker": {"failures": 2, "reset": "60s"}}
    async with pooling(bridge, min=0, retry=retry) as pool:
        for _ in range(2):
            with pytest.raises(Unavailable, match="password authentication failed"):
                await pool.send(bridge, numbered(1))
        assert pool.breaker.state is BreakerState.OPEN
        assert "password" in pool.as_dict()["endpoints"][0]["last_error"]
