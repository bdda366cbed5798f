"""Bridges with several endpoints, against real servers of which one goes away."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bridges.influxdb import InfluxdbSettings
from bridges.mqtt import MqttBridgeSettings
from gateway.core.contracts import Context, Endpoint
from gateway.stages.endpoints import choose
from tests.support.delivering import Work, delivering, now_numbered
from tests.support.influx import influx_1
from tests.support.journal import publish
from tests.support.mosquitto import mosquitto
from tests.support.proxy import Trouble, proxy
from tests.support.subscriber import subscriber

TOTAL = 2_000


async def test_mqtt_goes_on_with_the_other_broker(tmp_path: Path) -> None:
    """Everything is taken by one of two brokers; what the killed one had acknowledged, its
    subscriber has seen or the broker has lost, which is not ours. The one that is killed is the one
    that the next write would go to, so that it is tried."""
    with mosquitto(tmp_path / "one") as one, mosquitto(tmp_path / "two") as two:
        given = {
            "url": f"mqtt://127.0.0.1:{one.port}",
            "more_urls": [f"mqtt://127.0.0.1:{two.port}"],
            "timeout": "1s",
        }
        settings = MqttBridgeSettings.model_validate(given)
        context = Context("gw", "berrygate", tmp_path, Endpoint(), lambda event: None)
        bridge = settings.build("sink", context)
        retry = {"base": "10ms", "max": "100ms", "breaker": {"reset": "300ms"}}
        with subscriber(one.port) as first, subscriber(two.port) as second:
            async with delivering(tmp_path, bridge, pool={"max": 2}, retry=retry) as work:
                for start in range(0, TOTAL, 50):
                    await publish(work.bus, now_numbered(start, start + 50))
                    if start == TOTAL // 2:
                        await work.settled()
                        # Both are used, and what the first has acknowledged it has passed on.
                        there = start + 50
                        await work.until(
                            lambda there=there: len(_numbers(first) | _numbers(second)) == there
                        )
                        place = next_place(work)
                        (one, two)[place].kill()
                        failed = endpoint(work, place)["failed"]
                await work.settled()
                assert endpoint(work, place)["name"] == f"127.0.0.1:{(one, two)[place].port}"
                assert endpoint(work, place)["failed"] > failed
                assert work.ledger["delivered"] == TOTAL
                await work.until(lambda: len(_numbers(first) | _numbers(second)) == TOTAL)
                assert len(_numbers((second, first)[place])) > TOTAL // 4
                await asyncio.to_thread((one, two)[place].start)
                await work.until(lambda: endpoint(work, place)["state"] != "FAILED")


@pytest.mark.parametrize("what", ["a replay", "dead letters"])
async def test_what_is_sent_again_goes_to_the_other_endpoint(tmp_path: Path, what: str) -> None:
    """The endpoint that it would go to has just gone away. Nothing is tried twice here: what one
    endpoint does not take is refused, unless another one is asked."""
    with (
        influx_1(tmp_path / "influx") as influx,
        proxy(influx.port) as one,
        proxy(influx.port) as two,
    ):
        urls = [f"http://127.0.0.1:{each.port}" for each in (one, two)]
        given = {"url": urls[0], "more_urls": urls[1:], "version": "1", "database": "test"}
        settings = InfluxdbSettings.model_validate(given)
        context = Context("gw", "berrygate", tmp_path, Endpoint(), lambda event: None)
        bridge = settings.build("sink", context)
        retry = {"attempts": 1}
        async with delivering(tmp_path, bridge, pool={"max": 1}, retry=retry) as work:
            await publish(work.bus, now_numbered(0, 20))
            await work.settled()
            await work.delivery._dead_letter(now_numbered(20, 30), "no", "rejected")
            place = next_place(work)
            away = (one, two)[place]
            away.trouble = Trouble(refuse=True)
            away.cut()
            if what == "dead letters":
                letters = await work.letters.list("sink")
                found = await work.delivery.retry_letters(letters)
                assert (len(found.taken), found.kept) == (10, {})
            else:
                now = time.time_ns()
                await work.delivery.replay(now - 3600 * 10**9, now, "*")
                await work.until(lambda: _replay(work)["state"] == "done")
                assert (_replay(work)["sent"], _replay(work)["refused"]) == (20, 0)
            assert endpoint(work, place)["failed"] >= 1


def next_place(work: Work) -> int:
    """The endpoint that the next write will go to."""
    endpoints = work.delivery.pool.endpoints
    return endpoints.index(choose(endpoints, time.monotonic()))


def endpoint(work: Work, place: int) -> dict[str, Any]:
    """One endpoint, as it is shown."""
    found: dict[str, Any] = work.delivery.as_dict()["pool"]["endpoints"][place]
    return found


def _replay(work: Work) -> dict[str, Any]:
    return work.delivery._replay() or {}


def _numbers(found: object) -> set[int]:
    return {int(message.json["n"]) for message in found.messages}  # type: ignore[attr-defined]
