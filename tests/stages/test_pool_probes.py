"""An endpoint that is probed in vain says why, in its own words."""

from pathlib import Path

from bridges.influxdb import InfluxdbSettings
from gateway.core.contracts import Context, Endpoint
from tests.support.delivering import delivering, now_numbered
from tests.support.http_peer import Said, http_peer
from tests.support.journal import publish
from tests.support.ports import free_port

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
