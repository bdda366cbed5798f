"""What the gateway says of itself on MQTT, over every outage of the broker."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from gateway.core.contracts import Endpoint, Flag, Reading
from gateway.core.topics import Topics
from gateway.runtime.announce import Announcer, ReadingsAnnouncer
from tests.support.mosquitto import mosquitto
from tests.support.proxy import proxy

TOPICS = Topics("berrygate", "gw")


class Watcher:
    """A subscriber that comes late and remembers."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[str, bytes, bool]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("berrygate/#", 1)
        self._client.on_message = lambda _, __, m: self.seen.append((m.topic, m.payload, m.retain))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def last(self, topic: str) -> Any:
        found = [payload for name, payload, _ in self.seen if name == topic]
        return json.loads(found[-1]) if found and found[-1] else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def test_presence_comes_and_goes(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = Watcher(broker.port)
        async with Announcer(Endpoint(port=broker.port), TOPICS).running():
            await until(lambda: (watcher.last(TOPICS.presence) or {}).get("state") == "online")
        await until(lambda: watcher.last(TOPICS.presence)["state"] == "offline")
        late = Watcher(broker.port)
        await until(lambda: late.last(TOPICS.presence) is not None)  # retained
        for found in (watcher, late):
            found.close()


async def test_the_will_speaks_when_the_connection_is_cut(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, proxy(broker.port) as between:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=between.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            await until(lambda: (watcher.last(TOPICS.presence) or {}).get("state") == "online")
            between.cut()
            states = [json.loads(p)["state"] for t, p, _ in watcher.seen if t == TOPICS.presence]
            await until(lambda: "offline" in [
                json.loads(p)["state"] for t, p, _ in watcher.seen if t == TOPICS.presence
            ])  # fmt: skip
            await until(lambda: watcher.last(TOPICS.presence)["state"] == "online")
            assert states[0] == "online"
        watcher.close()


async def test_what_is_retained_survives_a_broker_that_forgets(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            announcer.publish(TOPICS.summary, {"score": 1}, retain=True)
            announcer.publish(TOPICS.summary, {"score": 2}, retain=True)
            announcer.publish(TOPICS("health", "device", "gone"), {"score": 3}, retain=True)
            announcer.clear(TOPICS("health", "device", "gone"))
            broker.kill()
            for file in tmp_path.glob("*.db"):
                file.unlink()
            await until(lambda: not announcer.connected)
            announcer.publish(TOPICS("dlq", "decode", "malformed"), {"count": 1})
            broker.start()
            await until(lambda: announcer.connected)
            watcher = Watcher(broker.port)
            await until(lambda: watcher.last(TOPICS.summary) == {"score": 2})
            assert watcher.last(TOPICS("health", "device", "gone")) is None
            assert watcher.last(TOPICS.presence)["state"] == "online"
            watcher.close()


async def test_a_long_outage_costs_bounded_memory(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            broker.stop()
            await until(lambda: not announcer.connected)
            for number in range(3_000):
                announcer.publish(TOPICS("data", "pi", "readings"), {"n": number})
                announcer.publish(TOPICS("state", "pi", "readings"), {"n": number}, retain=True)
            assert announcer.dropped >= 1_900
            broker.start()
            watcher = Watcher(broker.port)
            await until(lambda: watcher.last(TOPICS("data", "pi", "readings")) == {"n": 2_999})
            assert watcher.last(TOPICS("state", "pi", "readings")) == {"n": 2_999}
            watcher.close()


async def test_many_at_once_all_arrive(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            for number in range(900):
                announcer.publish(TOPICS("data", "pi", "readings"), {"n": number})
            topic = TOPICS("data", "pi", "readings")
            await until(lambda: sum(t == topic for t, _, _ in watcher.seen) == 900)
            assert announcer.dropped == 0
        watcher.close()


async def test_readings_of_local_devices(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            readings = ReadingsAnnouncer(announcer, TOPICS)
            readings.describe("pi", {"model": "Pi 4"})
            readings.take([Reading("pi", 5_000_000, {"t": 1.0}, int(Flag.UNSYNCED))])
            topic = TOPICS("data", "pi", "readings")
            await until(lambda: watcher.last(topic) is not None)
            assert watcher.last(topic) == {
                "time": 5, "values": {"t": 1.0}, "clock": "unsynced", "historical": False,
            }  # fmt: skip
            await until(lambda: watcher.last(TOPICS("state", "pi", "readings")) is not None)
            assert watcher.last(TOPICS("meta", "pi", "info")) == {"model": "Pi 4"}
        watcher.close()
