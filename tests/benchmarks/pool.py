"""What a write costs with a pool and with a connection of its own, in one run.

python -m tests.benchmarks.pool [--sends 300] [--only mqtt,postgres,https,redis,psycopg_pool]

Real servers, all with TLS: mosquitto, PostgreSQL, uvicorn, Redis. Each write is one reading, sent
by the bridge's own code; times are wall time by writes, so that what overlaps is shared.
psycopg_pool is the PostgreSQL through the pool that its driver brings, which ours wraps: how old
its connections become is its own matter.

- 1, 10, 100: so many writes at a time. The pool has at most 10 connections.
- expiry: 10 at a time, each connection is replaced after at most 200 ms.
- flapping: 10 at a time, two ways to the server, of which one is there for 0.6 s and away for
  0.4 s in turn. Without a pool a write takes the two ways in turn, and the other one if that fails.
- saved: the part of the time without a pool that the pool saves.

`warm` is the loan alone: a connection that does nothing.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.core.contracts import Batch, Bridge, Reading
from gateway.core.errors import Unavailable
from gateway.core.settings import BridgeSettings
from gateway.stages import compose
from gateway.stages.next_endpoint import NextEndpoint
from gateway.stages.pool import pool_of
from gateway.stages.upkeep import Upkeep
from tests.support.certificates import certificates
from tests.support.mosquitto import mosquitto
from tests.support.postgres import postgres
from tests.support.redis import RedisBridge, redis
from tests.support.sinks import (
    PooledPostgresBridge,
    PostgresBridge,
    flapping,
    https_bridge,
    https_server,
    mqtt_bridge,
)

Make = Callable[[list[int]], Bridge[Any]]
Found = dict[str, "tuple[Make, Make, int]"]
_SETTLE = 0.3  # s


@dataclass(frozen=True)
class Case:
    """A way to send. at_a_time: writes. pool: settings. two: whether there are two ways."""

    name: str
    at_a_time: int
    pool: Mapping[str, Any]
    two: bool = False


CASES = (
    Case("1", 1, {}),
    Case("10", 10, {}),
    Case("100", 100, {}),
    Case("expiry", 10, {"max_age": "200ms"}),
    Case("flapping", 10, {}, two=True),
)


def one() -> Batch:
    """A write."""
    return Batch(0, 0, [Reading("soil", time.time_ns() // 10**6 * 10**6, {"t": 21.5})])


async def timed(send: Callable[[Batch], Awaitable[None]], sends: int, at_a_time: int) -> float:
    """Wall time by write (s)."""
    left = sends

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await send(one())

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_a_time)))
    return (time.perf_counter() - began) / sends


async def without(bridge: Bridge[Any], sends: int, case: Case) -> float:
    """A connection for each write."""
    connect: Callable[..., AbstractAsyncContextManager[Any]] = bridge.connect
    names = bridge.endpoints  # type: ignore[attr-defined]
    turn = 0

    async def send(batch: Batch) -> None:
        nonlocal turn
        while True:
            turn += 1
            try:
                async with connect(names[turn % len(names)]) as conn:
                    await bridge.send(conn, batch)
                return
            except (Unavailable, OSError):
                if len(names) == 1:
                    raise

    await send(one())
    return await timed(send, sends, case.at_a_time)


async def with_pool(bridge: Bridge[Any], sends: int, case: Case) -> float:
    """The chain's end as a bridge has it: fail over, pool, upkeep."""
    settings = BridgeSettings.model_validate(
        {"type": "x", "pool": {"max": 10, **case.pool}, "retry": {"breaker": {"reset": "500ms"}}}
    )
    pool = pool_of(bridge, settings)

    async def last(batch: Batch) -> None:
        await pool.send(bridge, batch)

    send = compose([NextEndpoint(pool)], last)

    async def until_taken(batch: Batch) -> None:
        while True:
            try:
                await send(batch)
                return
            except Unavailable:
                if not case.two:
                    raise
                await asyncio.sleep(0.01)

    upkeep = asyncio.create_task(Upkeep("bench", pool).run())
    try:
        await timed(until_taken, case.at_a_time, case.at_a_time)  # as in the long run: warm
        return await timed(until_taken, sends, case.at_a_time)
    finally:
        upkeep.cancel()
        await asyncio.wait([upkeep])
        await pool.close()


@contextmanager
def servers(chosen: set[str]) -> Iterator[Found]:
    """What makes a bridge to ports, one for what is measured without a pool and one for what is
    with it, and the server's port, by name."""
    found: Found = {}

    def put(name: str, port: int, make: Make, plain: Make | None = None) -> None:
        if name in chosen:
            found[name] = (plain or make, make, port)

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates(directory)
        ca_file = directory / "ca.crt"
        if "mqtt" in chosen:
            tls = f"certfile {directory}/server.crt\nkeyfile {directory}/server.key"
            broker = stack.enter_context(mosquitto(directory / "broker", tls))
            put("mqtt", broker.port, lambda ports: mqtt_bridge(ca_file, ports))
        if chosen & {"postgres", "psycopg_pool"}:
            server = stack.enter_context(postgres())
            plain: Make = lambda ports: PostgresBridge(server.dsn, ports)  # noqa: E731
            put("postgres", server.port, plain)
            wrapped: Make = lambda ports: PooledPostgresBridge(server.dsn, ports)  # noqa: E731
            put("psycopg_pool", server.port, wrapped, plain)
        if "https" in chosen:
            port = stack.enter_context(https_server(directory))
            put("https", port, lambda ports: https_bridge(ca_file, ports))
        if "redis" in chosen:
            store = stack.enter_context(redis(directory / "redis"))
            put("redis", store.port, lambda ports: RedisBridge(store.ca_file, ports))
        yield found


def measure(plain: Make, make: Make, port: int, case: Case, sends: int) -> tuple[float, float]:
    """Without and with (s a write)."""
    with ExitStack() as stack:
        ports = [port]
        if case.two:
            ports = [
                stack.enter_context(flapping(port, 1.0, 0.0)),
                stack.enter_context(flapping(port, 0.6, 0.4)),
            ]
        before = asyncio.run(without(plain(ports), max(sends // 3, case.at_a_time), case))
        time.sleep(_SETTLE)
        after = asyncio.run(with_pool(make(ports), sends * (10 if case.two else 1), case))
        time.sleep(_SETTLE)
        return before, after


async def warm(loans: int = 20_000) -> float:
    """A loan of a connection that is there (s): the best of five."""

    class Nothing:
        name = "nothing"

        @asynccontextmanager
        async def connect(self) -> Any:
            yield None

        async def send(self, conn: None, batch: Batch) -> None:
            """Nothing."""

    bridge, batch = Nothing(), one()
    pool = pool_of(bridge, BridgeSettings(type="x"))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(loans):
            await pool.send(bridge, batch)
        best = min(best, (time.perf_counter() - began) / loans)
    await pool.close()
    return best


def main(sends: int, chosen: set[str]) -> None:
    """Print the table."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # a way that flaps is meant
    print(f"warm: {asyncio.run(warm()) * 1e6:.2f} us a loan")
    print(f"{'server':13}{'case':10}{'without ms':>12}{'with ms':>10}{'saved':>8}")
    with servers(chosen) as found:
        for name, (plain, make, port) in found.items():
            for case in CASES:
                before, after = measure(plain, make, port, case, sends)
                print(
                    f"{name:13}{case.name:10}{before * 1e3:12.2f}{after * 1e3:10.3f}"
                    f"{1 - after / before:8.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sends", type=int, default=300)
    parser.add_argument("--only", default="mqtt,postgres,https,redis,psycopg_pool")
    arguments = parser.parse_args()
    main(arguments.sends, set(arguments.only.split(",")))
