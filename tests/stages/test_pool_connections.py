"""Pools on real sockets: who gets a connection when, and that none is left behind."""

import asyncio
import random

import pytest

from gateway.core.errors import BerrygateError, Rejected, Unavailable
from gateway.stages.breaker import BreakerState
from gateway.stages.places import Exhausted
from tests.support.lines import CheckedBridge, LineBridge, LineServer, line
from tests.support.pooling import pooling, until


async def test_who_asked_first_is_served_first(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    async with pooling(bridge, max=1) as pool:
        asked = [f"d{n}" for n in range(30)]
        await asyncio.gather(*(pool.send(bridge, line(name)) for name in asked))
        assert servers[0].lines == asked
        assert servers[0].most == 1


async def test_a_newcomer_does_not_overtake_who_waits(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    servers[0].delay = 0.5
    async with pooling(bridge, max=1) as pool:
        first = asyncio.create_task(pool.send(bridge, line("first")))
        await until(lambda: pool.busy == 1)
        second = asyncio.create_task(pool.send(bridge, line("second")))
        await until(lambda: pool.places.waiting == 1)
        await first
        await pool.send(bridge, line("third"))  # asks in the moment the place is free
        await second
        assert servers[0].lines == ["first", "second", "third"]


async def test_waiting_too_long_says_for_what(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    servers[0].delay = 30.0
    async with pooling(bridge, max=2, acquire_timeout="100ms") as pool:
        work = [asyncio.create_task(pool.send(bridge, line())) for _ in range(2)]
        await until(lambda: pool.busy == 2)
        with pytest.raises(Exhausted) as found:
            await pool.send(bridge, line())
        assert str(found.value) == "no connection became free within 0.1 s: all 2 are in use"
        assert found.value.fix is not None
        assert "pool.max" in found.value.fix
        assert pool.places.timeouts == 1
        assert pool.breaker.failed_in_row == 0  # no endpoint's fault
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def test_cancelled_at_any_moment_nothing_is_left_behind(servers: list[LineServer]) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    bridge = CheckedBridge(*(server.port for server in servers))
    for server in servers:
        server.delay = 0.002
    async with pooling(bridge, max=5, min=0, check="50ms", max_age="200ms") as pool:
        for _ in range(40):
            work = [asyncio.create_task(pool.send(bridge, line())) for _ in range(12)]
            await asyncio.sleep(chance.uniform(0, 0.01))
            for task in chance.sample(work, 8):
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            assert pool.busy == 0
        await until(lambda: sum(server.open for server in servers) == pool.idle)
        assert sum(server.accepted for server in servers) >= pool.opened
        assert all(each.breaker.state is BreakerState.CLOSED for each in pool.endpoints)
        await asyncio.gather(*(pool.send(bridge, line()) for _ in range(10)))
    await until(lambda: sum(server.open for server in servers) == 0)


async def test_a_cancelled_connect_leaves_nothing_open(servers: list[LineServer]) -> None:
    """The server accepts, and the handshake after that takes long."""
    bridge = LineBridge(servers[0].port)
    opened = 0

    class Slow(LineBridge):
        def connect(self, endpoint: str = "") -> object:  # type: ignore[override]
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def greeted():  # type: ignore[no-untyped-def]
                nonlocal opened
                async with bridge.connect(endpoint) as conn:
                    opened += 1
                    await asyncio.sleep(30)
                    yield conn

            return greeted()

    slow = Slow(servers[0].port)
    async with pooling(slow, min=0, connect_timeout="100ms") as pool:
        with pytest.raises(Unavailable, match=r"no connection within 0\.1 s"):
            await pool.send(slow, line())
        task = asyncio.create_task(pool.send(slow, line()))
        await until(lambda: opened == 2)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: servers[0].open == 0)


async def test_cancelled_while_a_connection_is_looked_at(servers: list[LineServer]) -> None:
    bridge = CheckedBridge(servers[0].port)
    async with pooling(bridge, min=0, check="10s", idle="60s") as pool:
        await pool.send(bridge, line())
        pool.endpoints[0].idle[0].looked -= 11.0
        servers[0].delay = 1.0  # it sees who is gone only once it has answered
        task = asyncio.create_task(pool.send(bridge, line()))
        await until(lambda: bridge.checks == 1)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: servers[0].open == 0)
        assert pool.closed == {"cancelled": 1}


async def test_what_is_too_old_is_replaced_and_no_write_notices(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    async with pooling(bridge, max=2, max_age="100ms") as pool:
        async with asyncio.timeout(20):
            while pool.closed["age"] < 5:
                await asyncio.gather(*(pool.send(bridge, line()) for _ in range(2)))
                await asyncio.sleep(0.005)
        assert pool.closed["failed"] == 0
        assert servers[0].most <= 3  # one may still be closing


async def test_connections_do_not_all_grow_old_at_once(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    async with pooling(bridge, min=8, max=8, max_age="10s", idle="10s") as pool:
        await until(lambda: pool.idle == 8)
        ends = [lent.expires for lent in pool.endpoints[0].idle]
        assert max(ends) - min(ends) > 0.05
        assert len({lent.patience for lent in pool.endpoints[0].idle}) == 8


async def test_it_grows_at_once_and_shrinks_once_nobody_needs_it(
    servers: list[LineServer],
) -> None:
    bridge = LineBridge(servers[0].port)
    servers[0].delay = 0.05
    async with pooling(bridge, min=1, max=6, idle="300ms") as pool:
        await until(lambda: pool.idle == 1)
        await asyncio.gather(*(pool.send(bridge, line()) for _ in range(6)))
        assert servers[0].open == 6
        await until(lambda: servers[0].open == 1)
        assert pool.closed == {"idle": 5}
        await asyncio.sleep(0.5)
        assert (servers[0].open, servers[0].accepted) == (1, 6)  # and stays so


async def test_what_broke_is_replaced_before_it_is_needed(servers: list[LineServer]) -> None:
    bridge = CheckedBridge(servers[0].port)
    async with pooling(bridge, min=2, max=3, check="200ms") as pool:
        await until(lambda: pool.idle == 2)
        await servers[0].hang_up()
        await until(lambda: servers[0].open == 2)
        assert pool.closed["check"] == 2
        before = servers[0].accepted
        await pool.send(bridge, line())
        assert servers[0].accepted == before


async def test_what_idled_for_long_is_looked_at_before_it_is_lent(
    servers: list[LineServer],
) -> None:
    bridge = CheckedBridge(servers[0].port)
    async with pooling(bridge, min=0, check="10s", idle="60s") as pool:
        await pool.send(bridge, line())
        await pool.send(bridge, line())
        assert bridge.checks == 0  # the hot path pays nothing
        pool.endpoints[0].idle[0].looked -= 11.0
        await servers[0].hang_up()
        await pool.send(bridge, line())
        assert (bridge.checks, pool.closed["check"], servers[0].accepted) == (1, 1, 2)


@pytest.mark.parametrize("kind", [LineBridge, CheckedBridge])
async def test_a_restarted_server_costs_one_failure_not_one_a_connection(
    servers: list[LineServer], kind: type[LineBridge]
) -> None:
    bridge = kind(servers[0].port)
    async with pooling(bridge, min=4, max=4) as pool:
        await until(lambda: pool.idle == 4)
        await servers[0].stop()
        await servers[0].start()
        failed = 0
        for _ in range(8):
            try:
                await pool.send(bridge, line())
            except (BerrygateError, OSError):
                failed += 1
        assert failed == 1
        assert pool.breaker.state is BreakerState.CLOSED


async def test_a_refused_write_keeps_its_connection(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    async with pooling(bridge, min=0) as pool:
        for _ in range(5):
            with pytest.raises(Rejected):
                await pool.send(bridge, line("bad"))
        assert (servers[0].accepted, servers[0].open) == (1, 1)


async def test_what_comes_back_after_the_end_is_closed(servers: list[LineServer]) -> None:
    bridge = LineBridge(servers[0].port)
    async with pooling(bridge, min=0) as pool:
        async with pool.acquire():
            await pool.close()
            assert servers[0].open == 1
        await until(lambda: servers[0].open == 0)
