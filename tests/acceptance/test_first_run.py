"""What a new user sees: the built-in configuration on free ports."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import psutil
import pytest

from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port


class Client:
    """A user's MQTT client that remembers what it saw."""

    def __init__(self, port: int, topic: str) -> None:
        self.seen: list[tuple[str, bytes, bool]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_message = lambda _, __, m: self.seen.append((m.topic, m.payload, m.retain))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        text = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        self._client.publish(topic, text, 1, retain).wait_for_publish(5)

    def last(self, topic: str) -> Any:
        found = [payload for name, payload, _ in self.seen if name == topic]
        return json.loads(found[-1]) if found and found[-1] else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("house"), broker={"port": free_port()}) as running:
        yield running


@pytest.fixture
def client(house: Gateway) -> Iterator[Client]:
    found = Client(house.api("status")["broker"] and port_of(house), "berrygate/#")
    yield found
    found.close()


def port_of(house: Gateway) -> int:
    import yaml

    port: int = yaml.safe_load(house.config.read_text())["broker"]["port"]
    return port


def test_this_machine_is_there_at_once(house: Gateway, client: Client) -> None:
    house.wait(lambda: bool(house.values("pi", "cpu.percent")))
    metrics = {series["metric"] for series in house.api("series", device="pi")}
    assert {
        "memory.percent",
        "disk.root.percent",
        "load.1",
        "uptime",
        "gateway.memory.rss",
    } <= metrics
    house.wait(lambda: client.last("berrygate/test/state/pi/readings") is not None)
    state = client.last("berrygate/test/state/pi/readings")
    assert state["clock"] == "synced"
    assert state["historical"] is False
    assert state["values"]["memory.percent"] > 0
    house.wait(lambda: "units" in (client.last("berrygate/test/meta/pi/info") or {}))


def test_presence_and_health_are_retained(house: Gateway, client: Client) -> None:
    topics = ("status/gateway/presence", "health/gateway/summary", "health/device/pi")
    for topic in topics:
        house.wait(lambda t=topic: client.last(f"berrygate/test/{t}") is not None)  # type: ignore[misc]
    retained = {topic for topic, _, flag in client.seen if flag}
    assert {f"berrygate/test/{topic}" for topic in topics} <= retained
    assert client.last("berrygate/test/status/gateway/presence")["state"] == "online"
    summary = client.last("berrygate/test/health/gateway/summary")
    assert summary["level"] in ("EXCELLENT", "GOOD", "WARNING")
    assert set(summary) >= {"time", "level", "score", "reasons", "components", "devices", "worst"}


def test_a_published_message_is_there_in_order(house: Gateway, client: Client) -> None:
    for number in range(50):
        client.publish("devices/soil-4/telemetry", {"n": number, "ok": True})
    house.wait(lambda: len(house.values("soil-4", "n")) == 50)
    assert house.values("soil-4", "n") == [float(n) for n in range(50)]
    assert house.values("soil-4", "n", points=1, aggregate="sum") == [1225.0]
    assert house.values("soil-4", "ok")[-1] is True
    assert house.api("devices/soil-4")["last"]["values"] == {"n": 49.0, "ok": True}


def test_shapes_of_payloads(house: Gateway, client: Client) -> None:
    now = int(time.time() * 1000)
    client.publish("devices/many/telemetry", [{"a": 1, "ts": now - 2000}, {"a": 2, "ts": now}])
    client.publish("devices/deep/telemetry", {"a": {"b": 3, "c": [4, 5]}})
    client.publish("devices/bare/telemetry", "21.5")
    house.wait(lambda: house.values("bare", "value") == [21.5])
    points = house.api("query", device="many", metric="a")["points"]
    assert points == [[now - 2000, 1.0], [now, 2.0]]
    assert house.values("deep", "a.b") == [3.0]
    assert house.values("deep", "a.c.1") == [5.0]


def test_odd_names_become_ids_and_keep_their_original(house: Gateway, client: Client) -> None:
    client.publish("devices/Küche Süd/telemetry", {"t": 20})
    client.publish("devices/gateway/telemetry", {"t": 21})
    house.wait(lambda: house.values("gateway-2", "t") == [21.0])
    assert house.values("kuche-sud", "t") == [20.0]
    assert house.api("devices/kuche-sud")["original"] == "Küche Süd"


def test_a_retained_message_is_no_reading(house: Gateway, client: Client) -> None:
    client.publish("devices/kept/telemetry", {"t": 1}, retain=True)  # live once
    house.wait(lambda: house.values("kept", "t") == [1.0])
    house.stop()
    house.start()
    house.wait(lambda: house.api("status")["ledger"]["sources"]["mqtt"]["retained"] == 1)
    time.sleep(1.5)
    assert house.values("kept", "t") == [1.0]


def test_bad_data_is_counted_and_stops_nobody(house: Gateway, client: Client) -> None:
    before = house.api("status")["ledger"]["sources"]["mqtt"]
    client.publish("devices/bad/telemetry", "{not json")
    client.publish("devices/bad/telemetry", {"good": 1})
    house.wait(lambda: house.values("bad", "good") == [1.0])
    after = house.api("status")["ledger"]["sources"]["mqtt"]
    assert after["dead_lettered"] == before["dead_lettered"] + 1
    assert set(house.differences().values()) == {0}
    house.wait(lambda: client.last("berrygate/test/dlq/decode/malformed") is not None)


def test_the_promised_names_are_in_metrics(house: Gateway) -> None:
    text = house.get("/metrics").text
    for name in (
        "berrygate_messages_received_total", "berrygate_messages_dropped_total",
        "berrygate_journal_commit_seconds", "berrygate_journal_bytes",
        "berrygate_health_score", "berrygate_stage_seconds",
    ):  # fmt: skip
        assert name in text


def test_commands(house: Gateway, client: Client) -> None:
    status = house.command("status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["id"] == "test"
    assert house.command("check").returncode == 0
    tail = subprocess.Popen(
        [sys.executable, "-m", "gateway", "tail", "tailed", "--json", "-c", str(house.config)],
        stdout=subprocess.PIPE,
    )
    assert tail.stdout is not None
    time.sleep(1.0)
    client.publish("devices/tailed/telemetry", {"x": 1})
    assert json.loads(tail.stdout.readline())["values"] == {"x": 1.0}
    tail.kill()
    tail.wait()
    house.wait(lambda: house.values("tailed", "x") == [1.0])
    found = house.command("query", "tailed", "x", "--json")
    assert [value for _, value in json.loads(found.stdout)["points"]] == [1.0]


def test_stops_quickly_and_says_goodbye(tmp_path: Path) -> None:
    port = free_port()
    house = Gateway(tmp_path, broker={"port": port}).start()
    client = Client(port, "berrygate/test/status/gateway/presence")
    house.wait(lambda: bool(client.seen))
    pid = house.api("status")["broker"]["pid"]
    began = time.monotonic()
    assert house.stop() == 0
    took = time.monotonic() - began
    assert client.last("berrygate/test/status/gateway/presence")["state"] == "offline"
    assert not psutil.pid_exists(pid)
    assert took < 5.0  # what the service manager is promised
    client.close()


def test_a_killed_gateway_leaves_no_broker_behind(tmp_path: Path) -> None:
    house = Gateway(tmp_path, broker={"port": free_port()}).start()
    broker = psutil.Process(house.api("status")["broker"]["pid"])
    house.kill()
    broker.wait(10)
    house.start()
    assert house.stop() == 0


def test_two_gateways_on_one_directory_are_refused(house: Gateway) -> None:
    found = house.command("run")
    assert found.returncode == 2
    assert "another gateway already uses" in found.stderr
