"""Servers that a bridge writes to over TLS, and bridges to them: what pools are measured with."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from bridges.influxdb import InfluxdbSettings
from bridges.mqtt import MqttBridgeSettings
from gateway.core.contracts import Batch, Bridge, Context, Endpoint
from gateway.core.errors import Unavailable
from tests.support.ports import end, free_port, wait_for_port

_CONTEXT = Context("gw", "berrygate", Path(), Endpoint(), lambda event: None)


class PostgresBridge:
    """Readings into `readings`, at servers that are reached by their ports."""

    def __init__(self, dsn: str, ports: Sequence[int]) -> None:
        self.name = "postgres"
        self.endpoints = tuple(map(str, ports))
        self._dsn = dsn

    @asynccontextmanager
    async def connect(self, endpoint: str = "") -> AsyncIterator[Any]:
        dsn = psycopg.conninfo.make_conninfo(self._dsn, port=endpoint or self.endpoints[0])
        try:
            connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        except psycopg.OperationalError as error:
            raise Unavailable(str(error)) from error
        async with connection:
            yield connection

    async def send(self, conn: Any, batch: Batch) -> None:
        rows = [(r.device, r.time, next(iter(r.values.values()))) for r in batch.readings]
        try:
            async with conn.cursor() as cursor:
                await cursor.executemany("INSERT INTO readings VALUES (%s, %s, %s)", rows)
        except psycopg.OperationalError as error:
            raise Unavailable(str(error)) from error

    async def check(self, conn: Any) -> None:
        try:
            await conn.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise Unavailable(str(error)) from error


class PooledPostgresBridge(PostgresBridge):
    """The same through the pool that psycopg brings, as a driver with a pool of its own has it.
    size: its most connections. pools: each that was opened, the one of now last."""

    pooled_by_driver: Literal[True] = True

    def __init__(self, dsn: str, ports: Sequence[int], size: int = 10) -> None:
        super().__init__(dsn, ports)
        self.pools: list[AsyncConnectionPool[Any]] = []
        self._size = size

    @asynccontextmanager
    async def connect(self, endpoint: str = "") -> AsyncIterator[Any]:
        dsn = psycopg.conninfo.make_conninfo(self._dsn, port=endpoint or self.endpoints[0])
        # It gives a server up after 1 s without one, and then whoever asks makes it try again:
        # with its own patience (5 min, pauses that double) a server that is back waits for it.
        pool = AsyncConnectionPool(
            dsn, min_size=1, max_size=self._size, open=False, timeout=2, reconnect_timeout=1,
            kwargs={"autocommit": True},
        )  # fmt: skip
        async with pool:
            await _or_unavailable(pool.wait(2))
            self.pools.append(pool)
            yield pool

    async def send(self, conn: Any, batch: Batch) -> None:
        async def write() -> None:
            async with conn.connection() as connection:
                await super(PooledPostgresBridge, self).send(connection, batch)

        await _or_unavailable(write())

    async def check(self, conn: Any) -> None:
        async def look() -> None:
            await conn.check()  # throws away what is dead; says nothing
            async with conn.connection() as connection:
                await super(PooledPostgresBridge, self).check(connection)

        await _or_unavailable(look())

    def figures(self, conn: Any) -> Mapping[str, int]:
        told = conn.get_stats()
        return {"connections": told["pool_size"], "idle": told["pool_available"]}


async def _or_unavailable(work: Awaitable[None]) -> None:
    try:
        await work
    except (PoolTimeout, psycopg.OperationalError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def mqtt_bridge(ca_file: Path, ports: Sequence[int]) -> Bridge[Any]:
    """To brokers with TLS."""
    first, *more = (f"mqtts://127.0.0.1:{port}" for port in ports)
    settings = {"url": first, "more_urls": more, "ca_file": str(ca_file)}
    return MqttBridgeSettings.model_validate(settings).build("mqtt", _CONTEXT)


def https_bridge(ca_file: Path, ports: Sequence[int]) -> Bridge[Any]:
    """To HTTPS servers that take line protocol."""
    first, *more = (f"https://127.0.0.1:{port}" for port in ports)
    settings = {"url": first, "more_urls": more, "version": "1", "database": "test"}
    return InfluxdbSettings.model_validate(settings | {"ca_file": str(ca_file)}).build(
        "https", _CONTEXT
    )


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Takes whatever is posted."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@contextmanager
def https_server(directory: Path) -> Iterator[int]:
    """uvicorn in a process of its own, with the server's certificate in `directory`; its port."""
    port = free_port()
    with child(
        port, "uvicorn", "tests.support.sinks:app", "--port", str(port), "--log-level", "error",
        "--ssl-keyfile", f"{directory}/server.key", "--ssl-certfile", f"{directory}/server.crt",
        "--lifespan", "off", "--timeout-keep-alive", "60", "--http", "h11",
    ):  # fmt: skip
        yield port


@contextmanager
def flapping(target: int, up: float, down: float) -> Iterator[int]:
    """A way to a port of this machine that is there for `up` seconds and away for `down`, in a
    process of its own; its port. Never away with down=0."""
    port = free_port()
    with child(port, "tests.support.flapping", *map(str, (port, target, up, down))):
        yield port


@contextmanager
def child(port: int, module: str, *args: str) -> Iterator[None]:
    """A Python module in a process of its own, once it listens on the port."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *args], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    try:
        wait_for_port(port, process)
        yield
    finally:
        end(process)
