"""Several endpoints: which one is used, what becomes of one that fails, and how it comes back."""

import asyncio
import logging
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.core.contracts import Batch
from gateway.core.errors import Denied, Unavailable
from gateway.core.events import Event
from gateway.stages import compose
from gateway.stages.breaker import LEAST, Breaker, BreakerOpen, BreakerState, Recent
from gateway.stages.endpoints import EndpointState, PoolEndpoint, choose
from gateway.stages.health import HealthStage
from gateway.stages.next_endpoint import NextEndpoint
from gateway.stages.pool import Pool
from tests.support.delivering import delivering, now_numbered
from tests.support.http_peer import Said, http_peer
from tests.support.journal import publish
from tests.support.lines import CheckedBridge, LineBridge, LineServer, line
from tests.support.pooling import pooling, until


def chain(pool: Pool[Any], bridge: Any) -> Any:
    """The end of a bridge's chain, and its health stage."""
    events: list[Event] = []
    health = HealthStage("lines", events.append)

    async def send(batch: Batch) -> None:
        await pool.send(bridge, batch)

    return compose([NextEndpoint(pool), health], send), health


def state(pool: Pool[Any], number: int) -> str:
    found: str = pool.as_dict()["endpoints"][number]["state"]
    return found


async def test_writes_are_spread(servers: list[LineServer]) -> None:
    bridge = LineBridge(*(server.port for server in servers))
    for server in servers:
        server.delay = 0.002
    async with pooling(bridge, max=6) as pool:
        await asyncio.gather(*(pool.send(bridge, line()) for _ in range(200)))
    share = len(servers[0].lines) / 200
    assert 0.2 < share < 0.8


async def test_the_slow_one_gets_less(servers: list[LineServer]) -> None:
    bridge = LineBridge(*(server.port for server in servers))
    servers[0].delay, servers[1].delay = 0.05, 0.002
    async with pooling(bridge, max=6) as pool:

        async def work() -> None:
            for _ in range(25):
                await pool.send(bridge, line())

        await asyncio.gather(*(work() for _ in range(6)))
        slow, fast = (each.latency for each in pool.endpoints)
        assert slow > fast or not slow
    assert len(servers[0].lines) < len(servers[1].lines) / 3
    assert servers[0].lines, "it is not forgotten"


async def test_no_more_connections_than_max_over_all(servers: list[LineServer]) -> None:
    bridge = LineBridge(*(server.port for server in servers))
    async with pooling(bridge, min=3, max=3) as pool:
        for turn in range(6):
            servers[turn % 2].delay, servers[1 - turn % 2].delay = 0.03, 0.0
            await asyncio.gather(*(pool.send(bridge, line()) for _ in range(9)))
            assert pool.idle <= 3
            await until(lambda: sum(server.open for server in servers) <= 3)


async def test_a_failed_one_is_left_out_probed_and_used_again(
    servers: list[LineServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gateway.stages.upkeep")
    bridge = CheckedBridge(*(server.port for server in servers))
    retry = {"breaker": {"failures": 3, "reset": "400ms"}}
    async with pooling(bridge, max=4, check="400ms", retry=retry) as pool:
        send, health = chain(pool, bridge)
        for n in range(20):
            await send(line(f"a{n}"))
        await servers[0].stop()
        async with asyncio.timeout(20):
            while state(pool, 0) != "FAILED":
                await send(line("b"))  # each is taken
                await asyncio.sleep(0.01)
        failed = health.failed.get("unavailable", 0)
        seen = len(servers[1].lines)
        for n in range(50):
            await send(line(f"c{n}"))
        assert health.failed.get("unavailable", 0) == failed  # no reading has to be the trial
        assert servers[1].lines[seen:] == [f"c{n}" for n in range(50)]
        await servers[0].start()
        before = len(servers[0].lines)
        await until(lambda: state(pool, 0) in ("RECOVERING", "HEALTHY", "DEGRADED"))
        assert len(servers[0].lines) == before  # a probe brought it back
        async with asyncio.timeout(30):
            while len(servers[0].lines) == before or state(pool, 0) == "RECOVERING":
                await asyncio.gather(*(send(line("d")) for _ in range(4)))
                await asyncio.sleep(0.01)
        assert health.failed.get("unavailable", 0) == failed
        assert pool.endpoints[0].ejected == 1
    said = [record.getMessage() for record in caplog.records]
    assert any("is not used any more" in text and str(servers[0].port) in text for text in said)
    assert any("answers again" in text for text in said)


async def test_another_endpoint_takes_it_and_each_try_counts(servers: list[LineServer]) -> None:
    bridge = LineBridge(*(server.port for server in servers))
    async with pooling(bridge, min=0) as pool:
        send, health = chain(pool, bridge)
        await servers[0].stop()
        for _ in range(4):
            await send(line())
        assert health.failed == {"unavailable": 1}
        await servers[1].stop()
        with pytest.raises(Unavailable):
            await send(line())
        for endpoint in pool.endpoints:
            endpoint.breaker.succeeded()
        with pytest.raises(Unavailable) as found:
            await send(line())
        assert found.value.attempts == 2


async def test_credentials_that_one_endpoint_refuses_may_do_at_another(
    servers: list[LineServer],
) -> None:
    refuses = str(servers[0].port)

    class Strict(LineBridge):
        async def send(self, conn: Any, batch: Batch) -> None:
            if str(conn[1].get_extra_info("peername")[1]) == refuses:
                raise Denied("wrong password")
            await super().send(conn, batch)

    bridge = Strict(*(server.port for server in servers))
    async with pooling(bridge) as pool:
        send, _ = chain(pool, bridge)
        for _ in range(10):
            await send(line())
        assert len(servers[1].lines) == 10


async def test_when_all_have_failed_it_says_how_long(servers: list[LineServer]) -> None:
    bridge = LineBridge(*(server.port for server in servers))
    retry = {"breaker": {"failures": 2, "reset": "30s"}}
    async with pooling(bridge, retry=retry) as pool:
        send, _ = chain(pool, bridge)
        for server in servers:
            await server.stop()
        for _ in range(4):
            with pytest.raises(Unavailable):
                await send(line())
        with pytest.raises(BreakerOpen, match="all 2 endpoints have failed") as found:
            await send(line())
        assert 25 < found.value.after <= 30
        assert pool.breaker.state is BreakerState.OPEN


async def test_nothing_is_lost_when_one_of_two_servers_dies(tmp_path: Path) -> None:
    """A whole bridge: the journal, retry, pool, InfluxDB's driver, two HTTP servers."""
    from bridges.influxdb import InfluxdbSettings
    from gateway.core.contracts import Context, Endpoint

    with http_peer(lambda asked: Said()) as one, http_peer(lambda asked: Said()) as two:
        given = {"url": one.url, "more_urls": [two.url], "version": "1", "database": "test"}
        settings = InfluxdbSettings.model_validate(given | {"timeout": "1s"})
        context = Context("gw", "berrygate", tmp_path, Endpoint(), lambda event: None)
        bridge = settings.build("sink", context)
        async with delivering(tmp_path, bridge, pool={"max": 4}) as work:
            for start in range(0, 3_000, 100):
                await publish(work.bus, now_numbered(start, start + 100))
                if start == 1_000:
                    one.stop()
                await asyncio.sleep(0.01)
            await work.settled()
            taken = {
                text.rpartition(b" ")[2]
                for peer in (one, two)
                for asked in peer.asked
                for text in asked.body.splitlines()
            }
            assert len(taken) == 3_000
            assert work.ledger["delivered"] == 3_000
            shown = work.delivery.as_dict()["pool"]["endpoints"]
            assert [each["name"] for each in shown] == [one.url, two.url]
            assert work.delivery.state == "running"


async def test_a_drivers_own_pool_is_opened_once_and_lent_to_many(
    servers: list[LineServer],
) -> None:
    lent = 0

    class Own:
        """As a driver with a pool of its own: its connections are its matter."""

        name = "own"
        pooled_by_driver = True
        opened = closed = most = 0

        @asynccontextmanager
        async def connect(self) -> Any:
            self.opened += 1
            try:
                yield LineBridge(servers[0].port)
            finally:
                self.closed += 1

        async def send(self, conn: LineBridge, batch: Batch) -> None:
            nonlocal lent
            lent += 1
            self.most = max(self.most, lent)
            try:
                async with conn.connect(conn.endpoints[0]) as inner:
                    await conn.send(inner, batch)
            finally:
                lent -= 1

    bridge = Own()
    async with pooling(bridge, min=1, max=5, max_age="50ms", idle="50ms") as pool:
        await asyncio.gather(*(pool.send(bridge, line()) for _ in range(50)))
        await asyncio.sleep(0.2)
        await servers[0].stop()
        with pytest.raises(OSError, match="Connect"):
            await pool.send(bridge, line())
        await servers[0].start()
        await pool.send(bridge, line())
        assert (bridge.opened, bridge.closed) == (1, 0)
        assert bridge.most == 5
    assert bridge.closed == 1


# -- the rules, without sockets -----------------------------------------------------------------


def test_a_breaker_opens_by_share_of_failures() -> None:
    now = [100.0]
    breaker = Breaker(5, 10.0, lambda: now[0], rate=0.5, window=60.0)
    for _ in range(LEAST // 2 - 1):
        breaker.succeeded()
        breaker.failed()
    assert breaker.state is BreakerState.CLOSED  # too few to say anything
    breaker.succeeded()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    now[0] += 10.0
    breaker.enter()
    breaker.succeeded()
    breaker.failed()
    assert breaker.state is BreakerState.CLOSED  # what was before it opened is forgotten


def test_a_share_below_the_limit_never_opens_it() -> None:
    now = [100.0]
    breaker = Breaker(5, 10.0, lambda: now[0], rate=0.5, window=60.0)
    for _ in range(500):
        now[0] += 0.5
        breaker.succeeded()
        breaker.succeeded()
        breaker.failed()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.rate == pytest.approx(1 / 3, abs=0.02)


def test_what_is_long_past_does_not_count() -> None:
    recent = Recent(60.0, 0.0)
    recent.went_well += 10_000
    recent.failed(1_000.0)
    assert recent.rate(1_000.0) == 1.0
    recent.went_well += 9
    assert recent.rate(1_030.0) == pytest.approx(0.1)
    assert recent.calls(1_090.0) == pytest.approx(5)  # half of the window before
    assert recent.calls(1_200.0) == 0


def endpoint(name: str) -> PoolEndpoint[int]:
    return PoolEndpoint(name, lambda: None, Breaker(3, 60.0), alone=False)  # type: ignore[arg-type, return-value]


def test_a_peak_counts_at_once_and_is_forgotten_slowly() -> None:
    one = endpoint("one")
    one.succeeded(0.0, 0.01)
    one.succeeded(1.0, 1.0)
    assert one.latency == 1.0
    one.succeeded(2.0, 0.01)
    assert 0.8 < one.latency < 1.0
    one.succeeded(62.0, 0.01)
    assert one.latency < 0.02


def test_least_loaded_by_latency() -> None:
    one, two = endpoint("one"), endpoint("two")
    one.succeeded(0.0, 0.1)
    two.succeeded(0.0, 0.01)
    two.busy = 8
    assert choose([one, two], 0.0) is two
    two.busy = 10
    assert choose([one, two], 0.0) is one
    one.failure(0.0, Unavailable("reset"))
    two.busy = 1_000
    assert choose([one, two], 0.0) is two  # it failed just now
    assert one.state(0.0) is EndpointState.DEGRADED
    one.succeeded(0.0, 0.1)
    assert one.state(29.0) is EndpointState.DEGRADED
    assert one.state(31.0) is EndpointState.HEALTHY


def test_one_failure_ends_a_recovery() -> None:
    now = [0.0]
    one = PoolEndpoint[int]("one", lambda: None, Breaker(3, 5.0, lambda: now[0]), alone=False)  # type: ignore[arg-type, return-value]
    for _ in range(3):
        one.failure(now[0], Unavailable("reset"))
    assert one.state(now[0]) is EndpointState.FAILED
    now[0] = 5.0
    one.breaker.enter()
    one.succeeded(5.0, 0.01)
    assert one.state(5.0) is EndpointState.RECOVERING
    one.failure(5.0, Unavailable("reset"))
    assert one.state(5.0) is EndpointState.FAILED
    now[0] = 40.0
    one.breaker.enter()
    assert one.state(40.0) is EndpointState.FAILED  # nobody knows yet how the trial ends
    one.succeeded(40.0, 0.01)
    for _ in range(3):
        assert one.state(40.0) is EndpointState.RECOVERING
        one.succeeded(40.0, 0.01)
    assert one.state(40.0) is EndpointState.HEALTHY


def test_names_of_endpoints() -> None:
    """What a bridge shows of its endpoints holds no password."""
    from bridges.influxdb import InfluxdbSettings

    given = {
        "url": "http://user:sesame-7@first-sink:8086",
        "bucket": "b",
        "more_urls": ["http://second-sink:8086"],
    }
    settings = InfluxdbSettings.model_validate(given)
    assert list(settings.servers) == ["http://user:***@first-sink:8086", "http://second-sink:8086"]
    with pytest.raises(ValueError, match="named twice"):
        InfluxdbSettings.model_validate(
            given | {"more_urls": ["http://user:sesame-7@first-sink:8086"]}
        )
