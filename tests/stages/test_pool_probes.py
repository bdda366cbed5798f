"""What is looked at without need, and does not answer, says why in its own words."""

import asyncio
import time
from pathlib import Path

import pytest

from bridges.influxdb import InfluxdbSettings
from gateway.config.health import HealthSettings
from gateway.core.contracts import Context, Endpoint
from gateway.runtime import probes
from gateway.stages import upkeep
from tests.support.delivering import delivering, now_numbered
from tests.support.http_peer import Said, http_peer
from tests.support.influx import influx_1
from tests.support.journal import publish
from tests.support.ports import free_port

RULES = HealthSettings().rules()
SELDOM = {"strategy": "fixed", "base": "20s"}  # beside the probes


async def test_a_probe_that_fails_says_why(tmp_path: Path) -> None:
    with http_peer(lambda asked: Said(401, b'{"error": "authorization failed"}')) as denies:
        gone = f"http://127.0.0.1:{free_port()}"
        given = {"url": denies.url, "more_urls": [gone], "version": "1", "database": "test"}
        settings = InfluxdbSettings.model_validate(given | {"timeout": "1s"})
        context = Context("gw", "berrygate", tmp_path, Endpoint(), lambda event: None)
        bridge = settings.build("sink", context)
        async with delivering(tmp_path, bridge, retry=SELDOM) as work:
            await publish(work.bus, now_numbered(0, 10))
            endpoints = work.delivery.pool.endpoints
            await work.until(lambda: work.delivery.pool.closed["check"] >= 4)  # two of each
            await work.until(lambda: all(each.last_error for each in endpoints))
            assert "authorization failed" in endpoints[0].last_error
            assert "onnection refused" in endpoints[1].last_error


async def test_a_server_that_is_away_is_told_of_although_nothing_is_to_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_REST", 0.2)
    with influx_1(tmp_path / "influx") as server:
        given = {"url": server.url, "version": "1", "database": "test", "timeout": "1s"}
        context = Context("gw", "berrygate", tmp_path, Endpoint(), lambda event: None)
        bridge = InfluxdbSettings.model_validate(given).build("sink", context)
        async with delivering(tmp_path, bridge, pool={"check": "200ms"}) as work:
            pool, probe = work.delivery.pool, probes.bridge(work.delivery, RULES)
            await work.until(lambda: pool.idle > 0)
            await asyncio.sleep(0.5)
            assert probe() == []
            await asyncio.to_thread(server.stop)
            await work.until(lambda: bool(pool.unanswered))
            probe()
            later = time.monotonic() + RULES.of("bridge/sink")["availability"].warning + 1.0
            with monkeypatch.context() as patched:
                patched.setattr(probes.time, "monotonic", lambda: later)
                (found,) = probe() or ()
            assert found.metric == "availability"
            assert "onnection refused" in found.text
            assert "nothing waits" in found.doing
            await asyncio.to_thread(server.start)
            await work.until(lambda: not pool.unanswered)
            assert probe() == []
            await asyncio.to_thread(server.stop)
            await work.until(lambda: bool(pool.unanswered))
            await asyncio.to_thread(server.start)
            await publish(work.bus, now_numbered(0, 10))
            await work.settled()
            assert not pool.unanswered
