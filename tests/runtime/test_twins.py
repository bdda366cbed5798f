"""Desired and reported state over whole gateways: HTTP, MQTT, the command line, restarts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.test_commands import publish
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.subscriber import subscriber


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, broker={"port": free_port()}) as found:
        publish(found, "devices/heater/telemetry", {"on": False})
        found.wait(lambda: found.get("/api/v1/devices/heater").is_success)
        yield found


def desire(house: Gateway, key: str, value: Any, **more: Any) -> httpx.Response:
    url = f"{house.url}/api/v1/devices/heater/desired/{key}"
    return httpx.put(url, json={"value": value, **more}, timeout=30)


def state(house: Gateway) -> Any:
    return house.api("devices/heater/state")


def test_desired_goes_out_and_reported_comes_in(house: Gateway) -> None:
    with subscriber(house.broker_port, "berrygate/test/desired/heater/#") as device:
        first = desire(house, "target", 21.5)
        assert first.status_code == 200, first.text
        assert first.json()["differing"] == ["target"]
        device.count(1)
        told = device.messages[0].json
        assert (told["value"], told["version"]) == (21.5, 1)
        assert desire(house, "target", 22, version=7).status_code == 409
        assert desire(house, "target", 22, version=1).json()["desired"]["target"]["version"] == 2
        assert desire(house, "mode", {"eco": True}, version=0).status_code == 200
        device.count(3)

        report = {"value": 22, "version": 2}
        publish(house, "berrygate/test/reported/heater/target", report, retain=True)
        house.wait(lambda: "target" in state(house)["reported"])
        found = state(house)
        assert found["reported"]["target"]["of"] == 2
        assert found["differing"] == ["mode"]
        publish(house, "berrygate/test/reported/heater/mode", {"eco": True})
        house.wait(lambda: state(house)["differing"] == [])

        url = f"{house.url}/api/v1/devices/heater/desired/mode"
        assert httpx.delete(url).json()["desired"].keys() == {"target"}
        device.count(4)
        assert device.messages[3].payload == b""
        assert httpx.delete(url).status_code == 404


def test_a_restart_and_a_broker_that_forgot(house: Gateway) -> None:
    desire(house, "target", 19)
    publish(house, "berrygate/test/reported/heater/target", 19)
    house.wait(lambda: state(house)["differing"] == [] and bool(state(house)["reported"]))
    house.stop()
    for file in (house.directory / "data" / "broker").glob("mosquitto.db*"):
        file.unlink()
    house.start()
    found = state(house)
    assert found["desired"]["target"]["value"] == 19
    assert found["reported"]["target"]["value"] == 19
    with subscriber(house.broker_port, "berrygate/test/desired/#") as device:
        device.count(1)
        assert device.messages[0].json["value"] == 19


def test_what_is_not_taken(house: Gateway) -> None:
    assert desire(house, "a" * 65, 1).status_code == 422
    assert desire(house, "a", "x" * 5_000).status_code == 422
    url = f"{house.url}/api/v1/devices/nobody/desired/a"
    assert httpx.put(url, json={"value": 1}).status_code == 404
    publish(house, "berrygate/test/reported/nobody/a", 1)
    publish(house, "berrygate/test/reported/heater/a", b"{")
    publish(house, "berrygate/test/reported/heater/b", {"value": 1, "version": -1})
    publish(house, "berrygate/test/reported/heater/c", b'"\\ud800"')  # half a character
    for number in range(70):
        publish(house, f"berrygate/test/reported/heater/k{number}", number)
    house.wait(lambda: len(state(house)["reported"]) == 64)
    assert not {"a", "b", "c"} & state(house)["reported"].keys()
    for number in range(64):
        assert desire(house, f"k{number}", 1).status_code == 200
    assert desire(house, "one-more", 1).status_code == 422


def test_a_forgotten_device_leaves_no_state(house: Gateway) -> None:
    desire(house, "target", 19)
    publish(house, "berrygate/test/reported/heater/target", 18, retain=True)
    house.wait(lambda: bool(state(house)["reported"]))
    assert httpx.delete(f"{house.url}/api/v1/devices/heater").status_code == 200
    publish(house, "devices/heater/telemetry", {"on": False})
    house.wait(lambda: house.get("/api/v1/devices/heater").is_success)
    found = state(house)
    assert (found["desired"], found["reported"]) == ({}, {})
    house.stop()
    house.start()
    assert (state(house)["desired"], state(house)["reported"]) == ({}, {})


def test_the_command_line(house: Gateway) -> None:
    desired = house.command("devices", "desire", "heater", "target", "21.5")
    assert desired.returncode == 0, desired.stderr
    shown = house.command("devices", "state", "heater").stdout
    assert "target" in shown
    assert "21.5" in shown
    late = house.command("devices", "desire", "heater", "target", "22", "--version", "9")
    assert late.returncode == 1
    assert house.command("devices", "withdraw", "heater", "target").returncode == 0
