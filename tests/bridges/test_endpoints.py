"""Bridges with several endpoints, against real servers of which one goes away."""

import asyncio
from pathlib import Path

from bridges.mqtt import MqttBridgeSettings
from gateway.core.contracts import Context, Endpoint
from tests.support.delivering import delivering, now_numbered
from tests.support.journal import publish
from tests.support.mosquitto import mosquitto
from tests.support.subscriber import subscriber

TOTAL = 2_000


async def test_mqtt_goes_on_with_the_other_broker(tmp_path: Path) -> None:
    """Everything is taken by one of two brokers; what the killed one had acknowledged, its
    subscriber has seen or the broker has lost, which is not ours."""
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
                        await work.until(lambda: len(first.messages) + len(second.messages) >= 1000)
                        one.kill()
                await work.settled()
                found = work.delivery.as_dict()["pool"]["endpoints"]
                assert found[0]["name"] == f"127.0.0.1:{one.port}"
                assert work.ledger["delivered"] == TOTAL
                await work.until(lambda: len(_numbers(first) | _numbers(second)) == TOTAL)
                assert len(_numbers(second)) > TOTAL // 4
                await asyncio.to_thread(one.start)
                await work.until(lambda: bool(_shown(work)) and _shown(work) != "FAILED")


def _numbers(found: object) -> set[int]:
    return {int(message.json["n"]) for message in found.messages}  # type: ignore[attr-defined]


def _shown(work: object) -> str:
    state: str = work.delivery.as_dict()["pool"]["endpoints"][0]["state"]  # type: ignore[attr-defined]
    return state
