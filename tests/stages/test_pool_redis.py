"""A pool in front of a real Redis: what the server counts is what the pool says."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import Denied, Unavailable
from gateway.stages.breaker import BreakerState
from tests.support.pooling import pooling, until
from tests.support.redis import Conn, Redis, RedisBridge, asked, redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


def numbered(number: int) -> Batch:
    return Batch(0, 0, [Reading("soil", number, {"t": float(number)})])


@asynccontextmanager
async def looking(server: Redis) -> AsyncIterator[Conn]:
    """A connection of the test's own."""
    async with RedisBridge(server.ca_file, [server.port]).connect() as conn:
        yield conn


async def stored(conn: Conn) -> int:
    return int((await asked(conn, ("XLEN", "readings")))[0])


async def others(conn: Conn) -> int:
    """Connections besides our own, as the server counts them."""
    (told,) = await asked(conn, ("INFO", "clients"))
    lines = dict(line.split(":") for line in told.splitlines() if ":" in line)
    return int(lines["connected_clients"]) - 1


async def counted(conn: Conn, wanted: int) -> None:
    async with asyncio.timeout(20):
        while await others(conn) != wanted:
            await asyncio.sleep(0.02)


async def test_no_connection_is_left_behind(server: Redis) -> None:
    bridge = RedisBridge(server.ca_file, [server.port])
    async with looking(server) as conn:
        before = await stored(conn)
        async with pooling(bridge, min=1, max=4, idle="400ms") as pool:
            await asyncio.gather(*(pool.send(bridge, numbered(n)) for n in range(200)))
            assert await stored(conn) == before + 200
            assert pool.opened <= 4
            await counted(conn, 1)  # it shrinks to min
            work = [asyncio.create_task(pool.send(bridge, numbered(n))) for n in range(40)]
            await asyncio.sleep(0.002)
            for task in work[::2]:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await counted(conn, 1)
        await counted(conn, 0)


async def test_connections_that_the_server_ends_cost_no_write(server: Redis) -> None:
    bridge = RedisBridge(server.ca_file, [server.port])
    async with looking(server) as conn, pooling(bridge, min=3, max=3, check="200ms") as pool:
        await until(lambda: pool.idle == 3)
        await asked(conn, ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
        await until(lambda: pool.closed["check"] == 3 and pool.idle == 3)
        for number in range(10):
            await pool.send(bridge, numbered(number))
        assert pool.closed["failed"] == 0


async def test_a_restart_opens_the_breaker_and_closes_it_again(server: Redis) -> None:
    bridge = RedisBridge(server.ca_file, [server.port])
    retry = {"breaker": {"failures": 2, "reset": "200ms"}}
    async with pooling(bridge, max=3, retry=retry) as pool:
        await pool.send(bridge, numbered(0))
        await asyncio.to_thread(server.stop)
        try:
            for _ in range(2):
                with pytest.raises((Unavailable, OSError)):
                    await pool.send(bridge, numbered(1))
            assert pool.breaker.state is BreakerState.OPEN
        finally:
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(20):
            while pool.breaker.state is not BreakerState.CLOSED:
                try:
                    await pool.send(bridge, numbered(2))
                except (Unavailable, OSError):
                    await asyncio.sleep(0.05)
        async with looking(server) as conn:
            assert await stored(conn) > 0  # what was taken before is there


async def test_a_wrong_password_is_told_as_such(server: Redis) -> None:
    bridge = RedisBridge(server.ca_file, [server.port], "wrong")
    async with pooling(bridge, min=0) as pool:
        with pytest.raises(Denied, match="WRONGPASS"):
            await pool.send(bridge, numbered(1))
        assert "WRONGPASS" in pool.as_dict()["endpoints"][0]["last_error"]
