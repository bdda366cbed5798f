"""A driver's own pool is wrapped, not pooled twice: psycopg's, on a real PostgreSQL."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import Unavailable
from gateway.stages import compose
from gateway.stages.next_endpoint import NextEndpoint
from gateway.stages.pool import Pool
from tests.support.pooling import pooling, until
from tests.support.postgres import Postgres, postgres
from tests.support.proxy import Trouble, proxy
from tests.support.sinks import PooledPostgresBridge

CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("psycopg").setLevel(logging.ERROR)


def numbered(number: int) -> Batch:
    return Batch(0, 0, [Reading("soil", number, {"t": float(number)})])


async def writes(pool: Pool[object], bridge: PooledPostgresBridge, count: int) -> int:
    """So many, one after another; how many failed."""
    failed = 0
    for number in range(count):
        try:
            await pool.send(bridge, numbered(number))
        except Unavailable:
            failed += 1
    return failed


async def at_once(pool: Pool[object], bridge: PooledPostgresBridge, count: int) -> None:
    await asyncio.gather(*(pool.send(bridge, numbered(number)) for number in range(count)))


def is_whole(bridge: PooledPostgresBridge) -> bool:
    """Whether psycopg's pool opens none, and nobody uses one."""
    found = bridge.pools[0].get_stats()
    return found["pool_available"] == found["pool_size"]


def state(pool: Pool[object], number: int = 0) -> str:
    found: str = pool.as_dict()["endpoints"][number]["state"]
    return found


async def test_one_pool_for_all_writes_and_what_it_has_is_told(server: Postgres) -> None:
    bridge = PooledPostgresBridge(server.dsn, [server.port], 3)
    before = server.ask("SELECT count(*) FROM readings")
    async with pooling(bridge, min=1, max=8, max_age="50ms", idle="50ms") as pool:
        for _ in range(4):
            await at_once(pool, bridge, 50)
            await asyncio.sleep(0.1)  # ages and sizes are the library's: it is not opened again
        assert server.ask("SELECT count(*) FROM readings") == before + 200
        assert len(bridge.pools) == 1
        shown = pool.as_dict()
        assert (shown["opened"], shown["closed"], shown["busy"], shown["waiting"]) == (1, {}, 0, 0)
        (endpoint,) = shown["endpoints"]
        assert endpoint["state"] == "HEALTHY"
        assert endpoint["driver"]["connections"] == server.connections() == 3
        assert bridge.pools[0].get_stats()["requests_num"] == 200
        assert pool.places.most == 8  # places are ours
    assert bridge.pools[0].closed
    await until(lambda: server.connections() == 0)


@pytest.mark.parametrize("how", ["restarted", "cut"])
async def test_it_costs_one_write_and_not_one_a_connection(server: Postgres, how: str) -> None:
    bridge = PooledPostgresBridge(server.dsn, [server.port], 6)
    async with pooling(bridge, max=6) as pool:
        while server.connections() < 4:  # it grows by and by
            await at_once(pool, bridge, 60)
        # One that is cut while it opens would come into the pool, dead, behind the look at all.
        await until(lambda: is_whole(bridge))
        if how == "restarted":
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
        else:
            server.ask(CUT)
            await until(lambda: server.connections() == 0)
        assert await writes(pool, bridge, 20) == 1
        assert (state(pool), pool.endpoints[0].failed) == ("DEGRADED", 1)
        assert (len(bridge.pools), pool.opened) == (1, 1)  # it healed itself, in its own pool


async def test_a_restart_while_nothing_is_sent_costs_none(server: Postgres) -> None:
    bridge = PooledPostgresBridge(server.dsn, [server.port], 4)
    async with pooling(bridge, max=4, check="200ms") as pool:
        await at_once(pool, bridge, 40)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        looked = pool.endpoints[0].idle[0].looked
        await until(lambda: pool.endpoints[0].idle[0].looked > looked)
        assert await writes(pool, bridge, 10) == 0
        assert state(pool) == "HEALTHY"


async def test_a_server_that_is_away_opens_the_breaker_and_is_found_again(server: Postgres) -> None:
    bridge = PooledPostgresBridge(server.dsn, [server.port], 4)
    retry = {"breaker": {"failures": 3, "reset": "300ms"}}
    async with pooling(bridge, max=4, retry=retry) as pool:
        await at_once(pool, bridge, 20)
        await asyncio.to_thread(server.stop)
        try:
            await writes(pool, bridge, 4)
            assert state(pool) == "FAILED"
            assert pool.as_dict()["endpoints"][0]["breaker"] == "open"
            assert await writes(pool, bridge, 50) == 50  # at once: nobody waits for its timeouts
        finally:
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            while await writes(pool, bridge, 1):
                await asyncio.sleep(0.05)
        assert state(pool) == "RECOVERING"
        assert await writes(pool, bridge, 10) == 0
        assert (len(bridge.pools), pool.endpoints[0].ejected) == (1, 1)


async def test_of_two_ways_the_dead_one_is_probed_and_no_write_is_the_trial(
    server: Postgres,
) -> None:
    with proxy(server.port) as way, proxy(server.port) as other:
        bridge = PooledPostgresBridge(server.dsn, [way.port, other.port], 4)
        retry = {"breaker": {"failures": 2, "reset": "300ms"}}
        async with pooling(bridge, max=4, retry=retry) as pool:

            async def own(batch: Batch) -> None:
                await pool.send(bridge, batch)

            send = compose([NextEndpoint(pool)], own)

            async def some() -> None:
                """Each is taken."""
                await asyncio.gather(*(send(numbered(number)) for number in range(4)))

            for _ in range(10):
                await some()
            way.trouble = Trouble(refuse=True)
            way.cut()
            async with asyncio.timeout(30):
                while state(pool) != "FAILED":
                    await some()
                    await asyncio.sleep(0.02)
            failed, before = pool.endpoints[0].failed, pool.endpoints[1].failed
            await until(lambda: pool.endpoints[0].failed > failed)  # a probe
            assert state(pool) == "FAILED"
            way.trouble = Trouble()
            await until(lambda: state(pool) != "FAILED")
            tried = pool.endpoints[0].failed
            async with asyncio.timeout(30):
                while state(pool) == "RECOVERING":
                    await some()
            assert (pool.endpoints[0].failed, pool.endpoints[1].failed) == (tried, before)


class Looks(PooledPostgresBridge):
    """Its look at the pool ends when the test says so."""

    async def check(self, conn: object) -> None:
        await self.over.wait()
        await super().check(conn)

    over = asyncio.Event()


async def test_cancelled_at_a_look_the_pool_stays_open_for_the_others(server: Postgres) -> None:
    bridge = Looks(server.dsn, [server.port], 2)
    async with pooling(bridge, max=3) as pool:
        await pool.send(bridge, numbered(1))
        pool.endpoints[0].doubted = time.monotonic()
        work = [asyncio.create_task(pool.send(bridge, numbered(n))) for n in range(3)]
        await until(lambda: pool.endpoints[0].opening.locked() and pool.busy == 3)
        work[0].cancel()
        await asyncio.wait([work[0]])
        bridge.over.set()
        await asyncio.gather(*work[1:])
        assert (pool.opened, pool.closed, bridge.pools[0].closed) == (1, {}, False)


async def test_a_pool_that_opens_after_the_end_is_closed(server: Postgres) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    class Opens(PooledPostgresBridge):
        """When the test says so."""

        @asynccontextmanager
        async def connect(self, endpoint: str = "") -> AsyncIterator[Any]:
            begun.set()
            await over.wait()
            async with super().connect(endpoint) as conn:
                yield conn

    bridge = Opens(server.dsn, [server.port], 2)
    async with pooling(bridge, min=0, max=2) as pool:
        task = asyncio.create_task(pool.send(bridge, numbered(1)))
        await begun.wait()
        await pool.close()
        over.set()
        with pytest.raises(Unavailable, match="the bridge has ended"):
            await task
        await until(lambda: bridge.pools[0].closed)
        assert pool.closed == {"end": 1}


async def test_who_waited_for_a_look_that_fails_waits_for_no_other(server: Postgres) -> None:
    looks = 0

    class Fails(PooledPostgresBridge):
        async def check(self, conn: object) -> None:
            nonlocal looks
            looks += 1
            await asyncio.sleep(0.2)
            raise ValueError("a driver's bug")

    bridge = Fails(server.dsn, [server.port], 2)
    async with pooling(bridge, max=4, retry={"breaker": {"failures": 50}}) as pool:
        await pool.send(bridge, numbered(1))
        pool.endpoints[0].doubted = time.monotonic()
        work = [pool.send(bridge, numbered(n)) for n in range(4)]
        found = await asyncio.gather(*work, return_exceptions=True)
        assert {type(each) for each in found} == {Unavailable}  # it is not blamed on the readings
        assert {str(each) for each in found} == {"ValueError: a driver's bug"}
        assert looks == 1
