"""What it costs to publish a device's health, retained, beside paho's own `publish`.

python -m tests.benchmarks.announce [--count 10000]
CPU of a message (us, all threads of the process); take the ratio.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho

from gateway.core.contracts import Endpoint
from gateway.core.topics import Topics
from gateway.runtime.announce import Announcer
from tests.support.mosquitto import mosquitto

_TOPICS = Topics("berrygate", "gw")
_BURST, _PAUSE = 500, 0.3  # messages at once, and the rest after them (s)
_HEALTH = {"time": 1, "level": "GOOD", "score": 100, "trend": "steady", "reasons": []}


async def _spent(publish: Callable[[str], Any], left: Callable[[], int], count: int) -> float:
    """us of CPU a message, until none is left unacknowledged."""
    began = time.process_time()
    for burst in range(count // _BURST):
        for number in range(_BURST):
            publish(_TOPICS("health", "device", f"d{number}"))
        if burst:
            await asyncio.sleep(_PAUSE)
    while left():
        await asyncio.sleep(_PAUSE)
    return (time.process_time() - began) / count * 1e6


async def ours(port: int, count: int) -> float:
    """By the gateway's announcer."""
    announcer = Announcer(Endpoint(port=port), _TOPICS)
    async with announcer.running():
        while not announcer.connected:
            await asyncio.sleep(_PAUSE)

        def publish(topic: str) -> None:
            announcer.publish(topic, _HEALTH, retain=True)

        return await _spent(publish, lambda: announcer.in_flight, count)


async def theirs(port: int, count: int) -> float:
    """By paho's own publish."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages = 200
    unanswered = 0

    def answered(*_: object) -> None:
        nonlocal unanswered
        unanswered -= 1

    def publish(topic: str) -> None:
        nonlocal unanswered
        unanswered += 1
        client.publish(topic, msgspec.json.encode(_HEALTH), 1, True)

    client.on_publish = answered
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        return await _spent(publish, lambda: max(unanswered, 0), count)
    finally:
        client.loop_stop()


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as directory, mosquitto(Path(directory)) as broker:
        for _ in range(2):
            mine, paho_own = await ours(broker.port, count), await theirs(broker.port, count)
            print(
                f"us a message: ours {mine:.1f}, paho {paho_own:.1f}, ratio {mine / paho_own:.2f}"
            )


if __name__ == "__main__":
    asyncio.run(main())
