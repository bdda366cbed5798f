"""The InfluxDB bridge against real servers, and every answer there is."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridges.influxdb import InfluxdbSettings
from gateway.core.contracts import Batch, Bridge, Context, Endpoint, Flag, Reading
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable
from gateway.core.settings import RetrySettings
from gateway.stages import compose
from gateway.stages.health import HealthStage
from gateway.stages.retry import Retry
from tests.support.http_peer import Said, http_peer
from tests.support.influx import influx_1, victoria
from tests.support.influx2 import BUCKET, ORG, TOKEN, Influx2, influx_2
from tests.support.ports import free_port

NOW = time.time_ns()


def bridge(url: str, **more: Any) -> Bridge[Any]:
    """A bridge as configured by a user."""
    given = {"url": url, "token": TOKEN, "org": ORG, "bucket": BUCKET, "timeout": "1s", **more}
    settings = InfluxdbSettings.model_validate({k: v for k, v in given.items() if v is not None})
    context = Context("gw", "berrygate", Path(), Endpoint(), lambda event: None)
    return settings.build("sink", context)


def old(url: str) -> Bridge[Any]:
    """A bridge to InfluxDB 1."""
    return bridge(url, version="1", database="test", token=None, org=None, bucket=None)


def batch(size: int, **values: Any) -> Batch:
    readings = [
        Reading("soil", NOW + n * 10**6, {"n": float(n), "ok": True, "mode": 'a "b" \\'} | values)
        for n in range(size)
    ]
    return Batch(1, size + 1, readings)


async def send(sink: Bridge[Any], work: Batch) -> None:
    async with sink.connect() as conn:
        await sink.send(conn, work)


async def test_influxdb_1(tmp_path: Path) -> None:
    with influx_1(tmp_path) as server:
        sink = old(server.url)
        for _ in range(2):  # writing again changes nothing
            await send(sink, batch(500))
        assert server.values("soil", "n") == [float(n) for n in range(500)]
        assert server.values("soil", "ok") == [True] * 500
        assert set(server.values("soil", "mode")) == {'a "b" \\'}


async def test_influxdb_1_says_what_it_minds(tmp_path: Path) -> None:
    with influx_1(tmp_path) as server:
        sink = old(server.url)
        await send(sink, batch(1))
        with pytest.raises(Rejected, match="field type conflict"):
            await send(sink, batch(1, n="text"))
        with pytest.raises(Denied, match="database not found"):
            await send(bridge(server.url, version="1", database="nowhere"), batch(1))


async def test_victoria_metrics_through_the_client(tmp_path: Path) -> None:
    with victoria(tmp_path) as server:
        await send(bridge(server.url), batch(300))
        async with asyncio.timeout(20):  # it shows what it took a moment later
            while len(found := server.values("soil", "n")) < 300:
                await asyncio.sleep(0.1)
        assert found == [float(n) for n in range(300)]


async def test_mapping() -> None:
    with influx_2() as server:
        mapping = {
            "measurement": "m_{device}",
            "tags": {"site": "green house", "unit": "{device}"},
            "fields": {"n": "number"},
        }
        await send(bridge(server.url, mapping=mapping), batch(1))
        [(key, moment)] = server.points
        assert key == "m_soil,site=green\\ house,unit=soil"
        assert moment == NOW
        assert server.points[key, moment]["number"] == "0.0"


async def test_an_unset_clock_is_told() -> None:
    with influx_2() as server:
        work = batch(1)
        work.readings[0].flags = int(Flag.UNSYNCED)
        await send(bridge(server.url), work)
        assert next(iter(server.points))[0] == "soil,clock=unsynced"


@pytest.mark.parametrize(
    ("mode", "error"),
    [("overloaded", Throttled), ("unavailable", Throttled), ("hang", Unavailable),
     ("reset", Unavailable), ("too_large", Rejected)],
)  # fmt: skip
async def test_what_answers_mean(mode: str, error: type[BerrygateError]) -> None:
    with influx_2() as server:
        server.mode = mode
        with pytest.raises(error) as refused:
            await send(bridge(server.url), batch(2))
        assert TOKEN not in str(refused.value)
        if mode == "overloaded":
            assert isinstance(refused.value, Throttled)
            assert refused.value.after == 7.0


async def test_a_bad_token_and_a_missing_bucket_need_a_person() -> None:
    with influx_2() as server:
        with pytest.raises(Denied, match="unauthorized") as refused:
            await send(bridge(server.url, token="wrong-token"), batch(1))
        assert "wrong-token" not in str(refused.value)
        with pytest.raises(Denied, match="not found"):
            await send(bridge(server.url, bucket="elsewhere"), batch(1))


@pytest.mark.parametrize(
    ("host", "gzip", "expected"),
    [
        ("127.0.0.1", {}, False),
        ("localhost", {}, False),
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {"gzip": True}, True),
        ("0.0.0.0", {"gzip": False}, False),
    ],
)
async def test_what_goes_over_a_network_is_compressed(
    host: str, gzip: dict[str, bool], expected: bool
) -> None:
    with http_peer(lambda asked: Said(204)) as peer:
        url = peer.url.replace("127.0.0.1", host)
        await send(bridge(url, **gzip), batch(3))
    (asked,) = peer.asked
    assert (asked.headers.get("Content-Encoding") == "gzip") is expected
    assert asked.body.count(b"\n") == 2


async def test_nobody_there() -> None:
    with pytest.raises(Unavailable, match="refused"):
        await send(bridge(f"http://127.0.0.1:{free_port()}"), batch(1))


async def test_a_value_that_cannot_be_written_is_named() -> None:
    with influx_2() as server:
        work = batch(3)
        work.readings[1].values = {"n": float("nan")}
        with pytest.raises(Rejected) as refused:
            await send(bridge(server.url), work)
        assert refused.value.indices == [1]
        assert server.values("soil", "n") == ["0.0", "2.0"]


@pytest.mark.parametrize("place", [0, 250, 499])
@pytest.mark.parametrize("kind", ["v2", "v1"])
async def test_one_bad_record_in_500(tmp_path: Path, place: int, kind: str) -> None:
    """499 are delivered, one is a dead letter, in at most 20 requests."""
    if kind == "v2":
        with influx_2() as server:
            await one_bad(bridge(server.url), place)
            assert server.requests <= 21
            assert len(server.values("soil", "n")) == 500 - 1 + 1
    else:
        with influx_1(tmp_path) as influx:
            await one_bad(old(influx.url), place)
            assert len(influx.values("soil", "n")) == 500 - 1 + 1


async def one_bad(sink: Bridge[Any], place: int) -> None:
    first = Batch(1, 2, [Reading("soil", NOW - 10**9, {"n": -1.0})])
    await send(sink, first)  # the field is a number from here on
    work, dead, requests = batch(500), [], 0
    work.readings[place].values = {"n": "text"}

    async def bury(readings: list[Reading], text: str, reason: str) -> None:
        dead.extend(readings)

    async with sink.connect() as conn:

        async def write(part: Batch) -> None:
            nonlocal requests
            requests += 1
            await sink.send(conn, part)

        retry = Retry("sink", RetrySettings(), bury)
        await compose([retry, HealthStage("sink", lambda event: None)], write)(work)
    assert [reading.values for reading in dead] == [{"n": "text"}]
    assert (work.tally.delivered, work.tally.dead_lettered) == (499, 1)
    assert requests <= 20


async def test_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    with influx_1(tmp_path) as server:
        sink = old(server.url)
        async with sink.connect() as conn:
            await sink.send(conn, batch(10))
            server.stop()
            with pytest.raises(Unavailable):
                await sink.send(conn, batch(20))
            server.start()
            await sink.send(conn, batch(20))
        assert len(server.values("soil", "n")) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "http://a"}, "needs a bucket"),
        ({"url": "http://a", "version": "1"}, "needs a database"),
        ({"url": "a:8086", "bucket": "b"}, "pattern"),
        ({"url": "http://a", "bucket": "b", "mapping": {"measurement": "{what}"}}, "may only name"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InfluxdbSettings.model_validate(settings)


def test_influx2_itself_knows_points_by_their_identity() -> None:
    server = Influx2()
    for value in ("1.0", "2.0"):
        assert server._write([f"m,a=b x={value} 5"])[0] == 204
    assert server.values("m", "x") == ["2.0"]
    assert server._write(['m,a=b x="t" 6', "m y=1.0 7"])[0] == 422
    assert server.values("m", "y") == ["1.0"]  # the rest was taken
    assert server._write(["nonsense"])[0] == 400
