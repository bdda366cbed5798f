"""The device registry of whole gateways: adopt, ignore, rename, merge, forget."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.test_commands import publish
from tests.support.coap import Client
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, broker={"port": free_port()}, journal={"gather": "50ms"}) as found:
        yield found


def say(house: Gateway, device: str, value: float) -> None:
    publish(house, f"devices/{device}/telemetry", {"value": value})


def meet(house: Gateway, device: str, value: float = 1.0) -> None:
    say(house, device, value)
    house.wait(lambda: house.get(f"/api/v1/devices/{device}").is_success)


def call(house: Gateway, method: str, path: str, json: Any = None) -> httpx.Response:
    return httpx.request(method, f"{house.url}/api/v1/devices/{path}", json=json, timeout=30)


def ids(house: Gateway, **params: Any) -> list[str]:
    return [device["id"] for device in house.api("devices", **params)]


def retained(house: Gateway, device: str) -> set[str]:
    """The topics of the gateway on which something about a device is retained."""
    with subscriber(house.broker_port, "berrygate/test/#", f"look-{time.monotonic_ns()}") as look:
        look.wait(lambda: any("health/gateway" in m.topic for m in look.messages))
        time.sleep(0.3)
        return {
            message.topic
            for message in look.messages
            if message.retain and message.payload and device in message.topic.split("/")
        }


def test_names_tags_and_pages(house: Gateway) -> None:
    for device in ("soil-1", "soil-2", "pump"):
        meet(house, device)
    named = call(house, "PATCH", "soil-1", {"name": "Beet links", "tags": ["garden", "garden"]})
    assert named.status_code == 200, named.text
    assert (named.json()["name"], named.json()["tags"]) == ("Beet links", ["garden"])
    call(house, "PATCH", "soil-2", {"tags": ["garden"], "model": "S2", "attributes": {"row": "3"}})
    assert call(house, "POST", "soil-2/adopt").json()["state"] == "adopted"
    assert ids(house, tag="garden") == ["soil-1", "soil-2"]
    assert ids(house, filter="beet") == ["soil-1"]
    assert ids(house, filter="soil-*", limit=1, offset=1) == ["soil-2"]
    assert ids(house, state="adopted") == ["soil-2"]
    rhythm = house.api("devices/pump")
    assert rhythm["silent_after"] > 0
    assert "  silent     after " in house.command("devices", "show", "pump").stdout
    assert rhythm["first_seen"] <= rhythm["last_seen"]
    paged = house.get("/api/v1/devices", filter="soil", limit=1)
    assert (len(paged.json()), paged.headers["x-total-count"]) == (1, "2")
    assert call(house, "PATCH", "soil-1", {"tags": ["a,b"]}).status_code == 422
    assert call(house, "PATCH", "soil-1", {"id": "x"}).status_code == 422
    assert call(house, "PATCH", "nobody", {"name": "x"}).status_code == 404
    house.kill()
    house.start()
    again = house.api("devices/soil-2")
    assert (again["state"], again["model"], again["attributes"]) == ("adopted", "S2", {"row": "3"})
    assert house.api("devices/soil-1")["name"] == "Beet links"


def test_an_ignored_device_is_counted_and_dropped(house: Gateway) -> None:
    meet(house, "noise", 1.0)
    meet(house, "pump", 1.0)
    house.wait(lambda: "berrygate/test/status/noise/presence" in retained(house, "noise"))
    assert call(house, "POST", "noise/ignore").json()["state"] == "ignored"
    for number in range(5):
        say(house, "noise", 10.0 + number)
    say(house, "pump", 2.0)
    house.wait(lambda: house.values("pump", "value") == [1.0, 2.0])
    assert house.values("noise", "value") == [1.0]
    source = house.api("status")["ledger"]["sources"]["mqtt"]
    assert source["dropped"]["ignored"] == 5
    assert house.differences() == {"pi": 0, "mqtt": 0}
    assert house.api("devices/noise")["left_out"] == 5
    time.sleep(1.5)
    assert retained(house, "noise") == set()
    house.stop()
    house.start()
    say(house, "noise", 20.0)
    house.wait(lambda: house.api("devices/noise")["left_out"] == 1)
    call(house, "POST", "noise/adopt")
    say(house, "noise", 30.0)
    house.wait(lambda: house.values("noise", "value") == [1.0, 30.0])
    house.wait(lambda: "berrygate/test/status/noise/presence" in retained(house, "noise"))


def test_readings_of_a_merged_device_go_on_under_the_other(house: Gateway) -> None:
    meet(house, "old-soil", 1.0)
    meet(house, "new-soil", 2.0)
    merged = call(house, "POST", "new-soil/merge", {"into": "old-soil"})
    assert merged.status_code == 200, merged.text
    assert merged.json()["id"] == "old-soil"
    assert house.get("/api/v1/devices/new-soil").status_code == 404
    say(house, "new-soil", 3.0)
    house.wait(lambda: house.values("old-soil", "value") == [1.0, 3.0])
    house.kill()
    house.start()
    say(house, "new-soil", 4.0)
    say(house, "old-soil", 5.0)
    house.wait(lambda: len(house.values("old-soil", "value")) == 4)
    assert sorted(house.values("old-soil", "value")) == [1.0, 3.0, 4.0, 5.0]
    assert [each for each in ids(house) if "soil" in each] == ["old-soil"]
    assert call(house, "POST", "old-soil/merge", {"into": "old-soil"}).status_code == 422
    assert call(house, "POST", "old-soil/merge", {"into": "nobody"}).status_code == 404
    # Whoever lives is told: what was merged spoke last.
    with subscriber(house.broker_port, "devices/new-soil/commands/#") as device:
        call(house, "POST", "old-soil/commands/blink")
        device.count(1)


def test_a_forgotten_device_leaves_nothing_and_may_come_again(house: Gateway) -> None:
    meet(house, "ghost", 1.0)
    call(house, "PATCH", "ghost", {"name": "Geist"})
    house.wait(lambda: "berrygate/test/health/device/ghost" in retained(house, "ghost"))
    assert call(house, "DELETE", "ghost").status_code == 200
    assert house.get("/api/v1/devices/ghost").status_code == 404
    assert call(house, "DELETE", "ghost").status_code == 404
    time.sleep(1.5)
    assert retained(house, "ghost") == set()
    house.stop()
    house.start()
    assert "ghost" not in ids(house)
    meet(house, "ghost", 2.0)
    assert house.api("devices/ghost")["name"] is None
    assert house.differences() == {"pi": 0, "mqtt": 0}
    assert house.api("status")["state"] == "online"


def test_the_gateways_own_device_may_be_forgotten_too(house: Gateway) -> None:
    house.wait(lambda: len(retained(house, "pi")) >= 4)
    assert call(house, "DELETE", "pi").status_code == 200
    house.wait(lambda: "pi" in ids(house))  # it goes on, and is met anew
    house.wait(lambda: len(retained(house, "pi")) >= 4)


def test_what_was_said_last_is_known_after_a_restart(house: Gateway) -> None:
    meet(house, "soil", 7.5)
    house.stop()
    house.start()
    assert house.api("devices/soil")["last"]["values"] == {"value": 7.5}
    assert house.api("devices/soil")["last"]["time"]


def test_the_state_of_local_devices_is_told_to_a_broker_that_forgot(tmp_path: Path) -> None:
    port = free_port()
    devices = [{"type": "coap", "port": port}]
    with gateway(tmp_path, broker={"port": free_port()}, devices=devices) as house:
        with Client(port) as tank:
            tank.post("tank", b'{"level": 3}')
        house.wait(lambda: "berrygate/test/state/tank/readings" in retained(house, "tank"))
        house.stop()
        for file in (house.directory / "data" / "broker").glob("mosquitto.db*"):
            file.unlink()
        house.start()
        with Subscriber(house.broker_port, "berrygate/test/state/tank/#").running() as look:
            look.count(1)
            assert look.messages[0].json["values"] == {"level": 3.0}


def test_the_command_line(house: Gateway) -> None:
    meet(house, "soil")
    meet(house, "spare")
    assert house.command("devices", "rename", "soil", "Beet").returncode == 0
    assert house.command("devices", "tag", "soil", "a", "b").returncode == 0
    assert house.command("devices", "adopt", "soil").returncode == 0
    shown = house.command("devices", "show", "soil").stdout
    assert "Beet" in shown
    assert "adopted" in shown
    assert "a, b" in shown
    listed = house.command("devices", "list", "--tag", "a").stdout
    assert "soil" in listed
    assert "spare" not in listed
    assert house.command("devices", "merge", "spare", "soil", "--yes").returncode == 0
    assert house.command("devices", "ignore", "soil").returncode == 0
    asked = house.command("devices", "forget", "soil")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert house.command("devices", "forget", "soil", "--yes").returncode == 0
    assert house.command("devices", "show", "soil").returncode == 1


def test_the_alerts_of_a_forgotten_device_end(tmp_path: Path) -> None:
    rules = [{"name": "hot", "device": "ghost", "metric": "value", "above": 5}]
    alerts = {"rules": rules}
    with gateway(tmp_path, broker={"port": free_port()}, alerts=alerts) as house:
        meet(house, "ghost", 9.0)
        topic = "berrygate/test/alert/ghost/hot"
        house.wait(lambda: topic in retained(house, "ghost"))
        call(house, "DELETE", "ghost")
        house.wait(lambda: topic not in retained(house, "ghost"))
        assert [each["rule"] for each in house.api("alerts") if each["source"] == "ghost"] == []
