"""Commands from whole gateways to devices: over HTTP, the command line and MQTT."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from devices.mqtt import MqttSettings
from tests.support.cable import Cable
from tests.support.gateway import Gateway, gateway
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gateway]:
    broker = {"port": free_port()}
    with gateway(tmp_path, broker=broker) as found:
        publish(found, "devices/Valve-1/telemetry", {"open": False})
        found.wait(lambda: found.get("/api/v1/devices/valve-1").is_success)
        yield found


def client(house: Gateway) -> paho.Client:
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    made.connect("127.0.0.1", house.broker_port)
    made.loop_start()
    return made


def publish(
    house: Gateway, topic: str, payload: Any, *, retain: bool = False, **properties: Any
) -> None:
    asker = client(house)
    wanted = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in properties.items():
        setattr(wanted, name, value)
    data = payload if isinstance(payload, bytes) else json.dumps(payload)
    asker.publish(topic, data, 1, retain, properties=wanted).wait_for_publish(10)
    asker.disconnect()
    asker.loop_stop()


def tell(house: Gateway, name: str, wait: str = "10s", **asked: Any) -> httpx.Response:
    url = f"{house.url}/api/v1/devices/valve-1/commands/{name}"
    return httpx.post(url, params={"wait": wait}, json=asked, timeout=30)


def told(device: Subscriber) -> list[str]:
    """The ids of what the device heard."""
    return [message.json["id"] for message in device.messages]


def steps(asker: Subscriber, identity: str | None) -> list[str]:
    return [m.json["status"] for m in asker.messages if m.json["id"] == identity]


class TestOverHttp:
    def test_reaches_the_device_once(self, house: Gateway) -> None:
        with subscriber(house.broker_port, "devices/Valve-1/commands/#") as device:
            first = tell(house, "open", id="a1", args={"for": 30})
            assert first.status_code == 200, first.text
            assert first.json()["status"] == "ok"
            assert first.json()["result"] == {"topic": "devices/Valve-1/commands/open"}
            again = tell(house, "open", id="a1", args={"for": 30})
            assert (again.json()["status"], again.json()["repeated"]) == ("ok", True)
            other = tell(house, "open", id="a1", args={"for": 31})
            assert other.status_code == 409
            assert tell(house, "close", id="a2").json()["status"] == "ok"
            device.count(2)
            assert told(device) == ["a1", "a2"]
            message = device.messages[0]
            assert message.topic == "devices/Valve-1/commands/open"
            assert message.json["args"] == {"for": 30}
            assert now() < message.json["expires"] <= now() + 60_000
            assert message.properties.MessageExpiryInterval <= 60
        assert house.differences() == {"pi": 0, "mqtt": 0}

    def test_is_told_of_no_one_who_hears(self, house: Gateway) -> None:
        answer = tell(house, "open").json()
        assert answer["status"] == "failed"
        assert "nobody is subscribed" in answer["error"]

    def test_what_is_late_or_misspelt_or_unknown(self, house: Gateway) -> None:
        with subscriber(house.broker_port, "devices/Valve-1/commands/#") as device:
            late = tell(house, "open", id="late", expires=now() - 1)
            assert late.json()["status"] == "expired"
            assert tell(house, "open", expire="1s").status_code == 422
            assert tell(house, "open", args={"x": "y" * 20_000}).status_code == 422
            assert tell(house, "ok!").status_code == 422
            url = f"{house.url}/api/v1/devices/nobody/commands/open"
            assert httpx.post(url).status_code == 404
            deaf = httpx.post(f"{house.url}/api/v1/devices/pi/commands/open")
            assert deaf.status_code == 409
            assert "only hears" in deaf.json()["detail"]
            assert tell(house, "end", id="end").json()["status"] == "ok"
            device.count(1)
            assert told(device) == ["end"]

    def test_is_remembered_by_the_next_run(self, house: Gateway) -> None:
        with subscriber(house.broker_port, "devices/Valve-1/commands/#", "relay") as device:
            assert tell(house, "open", id="b1").json()["status"] == "ok"
            house.kill()
            house.start()
            assert house.api("commands/b1")["status"] == "ok"
            device.wait(lambda: device.connections > 1)
            again = tell(house, "open", id="b1").json()
            assert (again["status"], again["repeated"]) == ("ok", True)
            listed = house.api("devices/valve-1/commands")
            assert [each["id"] for each in listed["commands"]] == ["b1"]
            assert tell(house, "end", id="end").json()["status"] == "ok"
            device.wait(lambda: "end" in told(device))
            assert told(device).count("b1") == 1

    def test_a_device_that_is_away_never_gets_it_late(self, house: Gateway) -> None:
        away = Subscriber(house.broker_port, "devices/Valve-1/commands/#", "relay")
        with away.running():
            pass
        assert tell(house, "open", id="c1", expires="2s").json()["status"] == "ok"
        assert tell(house, "close", id="c2", expires="60s").json()["status"] == "ok"
        time.sleep(3)
        with subscriber(house.broker_port, "devices/Valve-1/commands/#", "relay") as device:
            device.count(1)
            assert told(device) == ["c2"]


class TestOverMqtt:
    def test_is_answered_where_the_asker_wants_it(self, house: Gateway) -> None:
        with (
            subscriber(house.broker_port, "devices/Valve-1/commands/#", "d") as device,
            subscriber(house.broker_port, "berrygate/test/res/#", "r") as results,
            subscriber(house.broker_port, "answers/me", "a") as mine,
        ):
            order = {"id": "m1", "expires": now() + 20_000, "args": {"for": 3}}
            publish(
                house, "berrygate/test/cmd/valve-1/open", order,
                ResponseTopic="answers/me", CorrelationData=b"42",
            )  # fmt: skip
            mine.count(1)
            assert mine.messages[0].json["status"] == "ok"
            assert mine.messages[0].properties.CorrelationData == b"42"
            results.wait(lambda: "ok" in steps(results, "m1"))
            assert steps(results, "m1") == ["accepted", "executing", "ok"]
            assert results.messages[0].topic == "berrygate/test/res/valve-1/open"
            assert not results.messages[0].retain

            publish(house, "berrygate/test/cmd/valve-1/open", order)
            results.count(4)
            assert results.messages[3].json["repeated"] is True
            assert told(device) == ["m1"]

    def test_what_is_refused(self, house: Gateway) -> None:
        topic = "berrygate/test/cmd/valve-1/open"
        with (
            subscriber(house.broker_port, "devices/Valve-1/commands/#", "d") as device,
            subscriber(house.broker_port, "berrygate/test/res/#", "r") as results,
        ):
            refused = {
                "retained": {"id": "r1"},
                "misspelt": {"id": "r2", "expire": 1},
                "no object": [1],
                "of the past": {"id": "r3", "expires": now() - 1},
                "no time": {"id": "r4", "expires": 0},
            }
            for number, (why, order) in enumerate(refused.items(), 1):
                publish(house, topic, order, retain=why == "retained")
                results.count(number)
                expected = "expired" if why == "of the past" else "rejected"
                assert results.messages[-1].json["status"] == expected, why
            publish(house, "berrygate/test/cmd/nobody/open", {"id": "r5"})
            results.count(6)
            assert results.messages[-1].json["error"] == 'no device "nobody"'
            publish(house, topic, b"", retain=True)  # clears it, and is no command
            publish(house, topic, {"id": "end"})
            results.wait(lambda: "ok" in steps(results, "end"))
            assert len(results.messages) == 9
            device.count(1)
            assert told(device) == ["end"]

    def test_what_was_retained_while_the_gateway_was_away(self, tmp_path: Path) -> None:
        with gateway(tmp_path, broker={"port": free_port()}) as house:
            publish(house, "devices/valve-1/telemetry", {"open": False})
            publish(house, "berrygate/test/cmd/valve-1/open", {"id": "old"}, retain=True)
            house.wait(lambda: house.get("/api/v1/devices/valve-1").is_success)
            house.stop()
            house.start()
            with subscriber(house.broker_port, "devices/valve-1/commands/#") as device:
                assert tell(house, "end", id="end").json()["status"] == "ok"
                device.count(1)
                assert told(device) == ["end"]
            assert house.get("/api/v1/commands/old").status_code == 404

    def test_no_answer_is_a_command(self, house: Gateway) -> None:
        other = "berrygate/test/cmd/valve-1/close"
        with (
            subscriber(house.broker_port, "devices/Valve-1/commands/#", "d") as device,
            subscriber(house.broker_port, other, "o") as commands,
        ):
            publish(
                house, "berrygate/test/cmd/valve-1/open", {"id": "l1"}, ResponseTopic=other
            )  # fmt: skip
            device.count(1)
            assert tell(house, "end", id="end").json()["status"] == "ok"
            device.count(2)
            assert told(device) == ["l1", "end"]
            assert commands.messages == []


class TestOnTheCommandLine:
    def test_tells_and_shows(self, house: Gateway) -> None:
        failed = house.command("devices", "command", "valve-1", "open")
        assert failed.returncode == 1
        assert "nobody is subscribed" in failed.stdout
        with subscriber(house.broker_port, "devices/Valve-1/commands/#") as device:
            done = house.command("devices", "command", "valve-1", "open", "for=30", "mode=slow")
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("ok")
            device.count(1)
            assert device.messages[0].json["args"] == {"for": 30, "mode": "slow"}
        assert house.command("devices", "command", "pi", "open").returncode == 1
        assert house.command("devices", "command", "valve-1", "open", "x").returncode == 2
        shown = house.command("devices", "commands", "valve-1").stdout
        assert "open" in shown
        assert "failed" in shown


def test_what_asks_as_others_do_is_answered(house: Gateway) -> None:
    with subscriber(house.broker_port, "devices/Valve-1/commands/#"):
        asked = subprocess.run(
            ["mosquitto_rr", "-V", "5", "-p", str(house.broker_port), "-W", "20", "-q", "1",
             "-t", "berrygate/test/cmd/valve-1/open", "-e", "answers/rr", "-m", '{"id": "rr"}'],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert json.loads(asked.stdout)["status"] == "ok", asked.stderr


def test_a_command_is_no_reading_for_whoever_hears_everything(tmp_path: Path) -> None:
    devices = [{"type": "mqtt", "topics": ["devices/+/#"]}]
    with gateway(tmp_path, broker={"port": free_port()}, devices=devices) as house:
        publish(house, "devices/valve-1/telemetry", {"open": False})
        house.wait(lambda: house.get("/api/v1/devices/valve-1").is_success)
        with subscriber(house.broker_port, "devices/valve-1/commands/#") as device:
            assert tell(house, "open", args={"level": 3}).json()["status"] == "ok"
            device.count(1)
        publish(house, "devices/valve-1/telemetry", {"open": True})
        house.wait(lambda: house.values("valve-1", "open") == [False, True])
        assert house.api("devices/valve-1")["metrics"] == ["open"]


def test_another_topic_over_a_broker_of_before(tmp_path: Path) -> None:
    """MQTT 3.1.1 knows no expiry: a device that is away is not told at all."""
    devices = [{"type": "mqtt", "commands": "to/{device}/{command}"}]
    with mosquitto(tmp_path / "broker") as broker:
        there = {"url": f"mqtt://127.0.0.1:{broker.port}", "protocol": "3.1.1"}
        with gateway(tmp_path, broker=there, devices=devices) as house:
            house.broker_port = broker.port
            publish(house, "devices/valve-1/telemetry", {"open": False})
            house.wait(lambda: house.get("/api/v1/devices/valve-1").is_success)
            with subscriber(broker.port, "to/valve-1/#") as device:
                assert tell(house, "open", id="old").json()["status"] == "ok"
                device.count(1)
                assert device.messages[0].topic == "to/valve-1/open"
                assert device.messages[0].qos == 0
                publish(house, "berrygate/test/cmd/valve-1/shut", {"id": "by-mqtt"})
                device.count(2)
                assert told(device) == ["old", "by-mqtt"]


def test_a_serial_device_is_told_over_a_real_line(tmp_path: Path) -> None:
    commands = {"tare": {"write": "T\\r\\n"}, "set": {"write": "S {value}\\r\\n"}}
    line = Cable(tmp_path / "line", lambda heard: b"").plug()
    device = {"type": "serial", "id": "valve-1", "port": str(line.link), "commands": commands}
    try:
        with gateway(tmp_path, broker={"port": free_port()}, devices=[device]) as house:
            house.wait(lambda: house.get("/api/v1/devices/valve-1").is_success)
            known = house.api("devices/valve-1/commands")
            assert known["schemas"]["set"]["required"] == ["value"]
            for args in ({}, {"value": [1]}, {"value": 1, "more": 2}):
                assert tell(house, "set", args=args).status_code == 422
            assert tell(house, "fly").status_code == 422
            assert tell(house, "set", args={"value": 2.5}).json()["status"] == "ok"
            house.wait(lambda: line.heard == [b"S 2.5"])
    finally:
        line.unplug()


def test_a_command_that_a_kill_interrupted_is_never_tried_again(tmp_path: Path) -> None:
    line = Cable(tmp_path / "line", lambda heard: b"").plug()
    commands = {"open": {"write": "OPEN\\r\\n", "reply": "OK", "timeout": "20s"}}
    device = {"type": "serial", "id": "valve-1", "port": str(line.link), "commands": commands}
    try:
        with gateway(tmp_path, broker={"port": free_port()}, devices=[device]) as house:
            house.wait(lambda: house.get("/api/v1/devices/valve-1").is_success)
            assert tell(house, "open", wait="0s", id="k1", expires="10m").status_code == 202
            assert tell(house, "open", wait="0s", id="k2", expires="10m").status_code == 202
            house.wait(lambda: line.heard == [b"OPEN"])
            house.kill()
            house.start()
            for identity in ("k1", "k2"):
                found = house.api(f"commands/{identity}")
                assert found["status"] == "failed"
                assert "not tried again" in found["error"]
                again = tell(house, "open", id=identity).json()
                assert (again["status"], again["repeated"]) == ("failed", True)
            time.sleep(1)
            assert line.heard == [b"OPEN"]
    finally:
        line.unplug()


def test_another_broker_after_a_reload(tmp_path: Path) -> None:
    with gateway(tmp_path, broker={"port": free_port()}) as house:
        publish(house, "devices/valve-1/telemetry", {"open": False})
        house.wait(lambda: house.get("/api/v1/devices/valve-1").is_success)
        config = yaml.safe_load(house.config.read_text())
        config["broker"]["port"] = house.broker_port = free_port()
        house.config.write_text(yaml.safe_dump(config))
        assert house.command("reload").returncode == 0
        house.wait(lambda: house.get("/readyz").status_code == 200)
        with (
            subscriber(house.broker_port, "devices/valve-1/commands/#", "d") as device,
            subscriber(house.broker_port, "berrygate/test/res/#", "r") as results,
        ):
            order = {"id": "after"}
            publish(house, "berrygate/test/cmd/valve-1/open", order)
            results.wait(lambda: "ok" in steps(results, "after"))
            assert told(device) == ["after"]


@pytest.mark.parametrize(
    "topic",
    ["cmnd/{device}", "cmnd/{command}", "{other}/{device}/{command}", "+/{device}/{command}"],
)
def test_a_topic_that_is_none_is_told(topic: str) -> None:
    with pytest.raises(ValidationError, match="commands"):
        MqttSettings.model_validate({"commands": topic})
