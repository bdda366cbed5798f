"""What the gateway says of itself on MQTT, over every outage of the broker."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from gateway.core.contracts import Endpoint, Flag, Reading
from gateway.core.topics import Topics
from gateway.runtime.announce import Announcer, ReadingsAnnouncer
from tests.support.mosquitto import Mosquitto, mosquitto
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


@contextmanager
def frozen(broker: Mosquitto) -> Iterator[None]:
    """A broker that answers nothing."""
    assert broker.process is not None
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)


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


async def test_an_old_message_in_flight_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    """paho sends again what was not acknowledged, behind what is published on connect."""
    with mosquitto(tmp_path) as broker, proxy(broker.port) as between:
        announcer = Announcer(Endpoint(port=between.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            with frozen(broker):
                announcer.publish(TOPICS.summary, {"score": 1}, retain=True)
                announcer.publish(TOPICS("dlq", "decode", "malformed"), {"count": 1})
                await asyncio.sleep(0.2)
                between.cut()
                await until(lambda: not announcer.connected)
                announcer.publish(TOPICS.summary, {"score": 2}, retain=True)
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            await asyncio.sleep(0.3)
            watcher = Watcher(broker.port)
            await until(lambda: watcher.last(TOPICS.summary) is not None)
            assert watcher.last(TOPICS.summary) == {"score": 2}
            watcher.close()


async def test_what_was_in_flight_and_is_not_retained_is_sent_again(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, proxy(broker.port) as between:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=between.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            await until(lambda: watcher.last(TOPICS.presence) is not None)
            topic = TOPICS("data", "pi", "readings")
            for number in range(2_000):
                announcer.publish(topic, {"n": number, "text": "x" * 500})
                if number == 300:
                    between.cut()
                if number % 50 == 0:
                    await asyncio.sleep(0.02)
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            seen = {json.loads(payload)["n"] for name, payload, _ in watcher.seen if name == topic}
            assert len(seen) + announcer.dropped == 2_000
        watcher.close()


async def test_a_topic_cleared_during_an_outage_is_cleared_at_a_broker_that_remembers(
    tmp_path: Path,
) -> None:
    with mosquitto(tmp_path) as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            gone = TOPICS("health", "device", "gone")
            announcer.publish(gone, {"score": 3}, retain=True)
            await until(lambda: announcer.in_flight == 0)
            broker.stop()  # with SIGTERM it writes down what is retained
            await until(lambda: not announcer.connected)
            announcer.clear(gone)
            broker.start()
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            watcher = Watcher(broker.port)
            await until(lambda: watcher.last(TOPICS.presence) is not None)
            await asyncio.sleep(0.2)
            assert gone not in [topic for topic, _, _ in watcher.seen]
            watcher.close()


async def test_a_cleared_topic_is_forgotten_once_the_broker_knows(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, proxy(broker.port) as between:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=between.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            gone = TOPICS("health", "device", "gone")
            announcer.publish(gone, {"score": 3}, retain=True)
            await until(lambda: watcher.last(gone) == {"score": 3})
            announcer.clear(gone)
            await until(lambda: announcer.in_flight == 0)
            between.cut()
            await until(lambda: not announcer.connected)
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            announcer.publish(TOPICS.summary, {"score": 1})
            await until(lambda: watcher.last(TOPICS.summary) is not None)
            assert [payload for topic, payload, _ in watcher.seen if topic == gone][1:] == [b""]
        watcher.close()


async def test_live_messages_do_not_push_out_what_is_retained(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            with frozen(broker):
                for number in range(600):
                    announcer.publish(TOPICS("data", "pi", "readings"), {"n": number})
                announcer.publish(TOPICS.summary, {"score": 1}, retain=True)
                for number in range(2_000):
                    announcer.publish(TOPICS("data", "pi", "readings"), {"n": number})
                assert announcer.in_flight <= 200
            watcher = Watcher(broker.port)
            await until(lambda: watcher.last(TOPICS.summary) == {"score": 1})
            watcher.close()


async def test_no_more_is_in_flight_than_the_broker_allows(tmp_path: Path) -> None:
    """MQTT 5.0, section 3.2.2.3.3: a broker may end the connection of one that sends more."""
    with mosquitto(tmp_path, "max_inflight_messages 7") as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected and announcer.in_flight == 0)
            with frozen(broker):
                for number in range(100):
                    announcer.publish(TOPICS("data", "pi", "readings"), {"n": number})
                await asyncio.sleep(0.1)
                assert announcer.in_flight == 7
            await until(lambda: announcer.in_flight == 0)
            assert announcer.dropped == 0


async def test_a_refusal_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mosquitto(tmp_path, "allow_anonymous false") as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: "uthori" in announcer.trouble)
            await asyncio.sleep(1.5)
            assert not announcer.connected
        told = [r.getMessage() for r in caplog.records if "no connection" in r.getMessage()]
        assert len(told) == 1
        assert "uthori" in told[0]


async def test_what_cannot_be_published_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            announcer.publish("berrygate/gw/health/+/x", {})
            announcer.publish(TOPICS.summary, object())
            announcer.publish(TOPICS.summary, {"text": "\ud800"}, retain=True)
            assert announcer.dropped == 3
            announcer.publish(TOPICS.summary, {"score": 1}, retain=True)
            watcher = Watcher(broker.port)
            await until(lambda: watcher.last(TOPICS.summary) == {"score": 1})
            watcher.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_both_protocols(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=broker.port, protocol=protocol), TOPICS)
        async with announcer.running():
            for number in range(300):
                announcer.publish(TOPICS("data", "pi", "readings"), {"n": number}, qos=number % 2)
            topic = TOPICS("data", "pi", "readings")
            await until(lambda: watcher.last(topic) == {"n": 299})
            await until(lambda: announcer.in_flight == 0)
            assert announcer.dropped == 0
        await until(lambda: watcher.last(TOPICS.presence)["state"] == "offline")
        watcher.close()


async def test_the_state_is_the_last_reading_also_of_many_at_once(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        watcher = Watcher(broker.port)
        announcer = Announcer(Endpoint(port=broker.port), TOPICS)
        async with announcer.running():
            await until(lambda: announcer.connected)
            readings = ReadingsAnnouncer(announcer, TOPICS)
            for number in range(5):
                readings.take([Reading("door", number * 1_000_000, {"open": bool(number % 2)})])
            readings.take([Reading("door", 9, {"open": True}, int(Flag.HISTORICAL))])
            state = TOPICS("state", "door", "readings")
            await until(lambda: (watcher.last(state) or {}).get("time") == 4)
            assert [topic for topic, _, _ in watcher.seen].count(state) == 2
            assert watcher.last(state)["historical"] is False
            data = [payload for t, payload, _ in watcher.seen if t.endswith("data/door/readings")]
            assert len(data) == 6
        watcher.close()
