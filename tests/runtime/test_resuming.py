"""`resume` of a bridge that fails tries at once, also where its breakers are open."""

import asyncio
from pathlib import Path

import pytest

from tests.support.delivering import delivering, now_numbered
from tests.support.journal import publish
from tests.support.lines import CheckedBridge, LineBridge, LineServer


@pytest.mark.parametrize("driver", [LineBridge, CheckedBridge])
@pytest.mark.parametrize("number", [1, 2])
async def test_resume_does_not_wait_for_the_breaker(
    tmp_path: Path, number: int, driver: type[LineBridge]
) -> None:
    servers = [await LineServer().start() for _ in range(number)]
    bridge = driver(*(server.port for server in servers))
    for server in servers:
        await server.stop()
    retry = {"base": "10ms", "max": "100ms", "breaker": {"failures": 2, "reset": "10m"}}
    async with delivering(tmp_path, bridge, retry=retry) as work:
        await publish(work.bus, now_numbered(0, 10))
        endpoints = work.delivery.pool.endpoints
        await work.until(lambda: not any(each.closed for each in endpoints))
        await work.delivery.resume()  # in vain: it opens again
        await asyncio.sleep(0.3)
        assert work.delivery.state == "failing"
        assert not any(each.closed for each in endpoints)
        for server in servers:
            await server.start()
        await work.delivery.resume()
        await work.settled()
        assert work.delivery.state == "running"
        assert work.ledger["delivered"] == 10
    for server in servers:
        await server.stop()
