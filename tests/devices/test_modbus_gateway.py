"""Modbus at a gateway as its users have it: readings to the journal, units that go and come."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, gateway
from tests.support.modbus import NullModem, Server, rtu_server, tcp_server
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber

METER = {"input": dict.fromkeys(range(0x160), 0) | {0: 0x4366, 1: 0x199A}}
CLIMATE = {"input": {1: 215, 2: 455}, "holding": {0x103: 0, 0x104: 0}}


def last(heard: Subscriber, topic: str) -> dict[str, Any]:
    found = [message.json for message in list(heard.messages) if message.topic == topic]
    return dict(found[-1]) if found else {}


def source(house: Gateway) -> dict[str, Any]:
    (found,) = house.api("status")["sources"]
    return dict(found)


@pytest.fixture(params=["tcp", "rtu"])
def line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Server, dict[str, Any]]]:
    units = {1: METER, 2: CLIMATE}
    if request.param == "tcp":
        port = free_port()
        server = tcp_server(port, units).start()
        yield server, {"host": "127.0.0.1", "port": port}
        server.stop()
        return
    cable = NullModem(tmp_path / "by-id-line")
    cable.plug()
    cable.let_go()
    server = rtu_server(cable.far, units).start()
    yield server, {"port": str(cable.link)}
    server.stop()
    cable.close()


def test_readings_units_and_one_that_goes_away(
    tmp_path: Path, line: tuple[Server, dict[str, Any]]
) -> None:
    server, settings = line
    device = {
        "type": "modbus", "id": "cellar", **settings, "timeout": "300ms",
        "units": [
            {"device": "mains", "address": 1, "map": "sdm120", "every": "100ms"},
            {"device": "climate", "address": 2, "map": "xy-md02", "every": "100ms"},
        ],
    }  # fmt: skip
    broker = {"port": free_port()}
    with (
        gateway(tmp_path / "house", broker=broker, devices=[device]) as house,
        subscriber(house.broker_port) as heard,
    ):
        house.wait(lambda: house.values("mains", "voltage")[:1] == [230.1])
        house.wait(lambda: house.values("climate", "temperature")[:1] == [21.5])
        assert house.values("climate", "humidity")[0] == 45.5
        devices = {each["id"]: each for each in house.api("devices")}
        assert devices.keys() == {"mains", "climate"}
        assert devices["mains"]["units"]["voltage"] == "V"
        heard.wait(lambda: bool(last(heard, "berrygate/test/meta/mains/info")), 10)
        info = last(heard, "berrygate/test/meta/mains/info")
        assert (info["source"], info["model"]) == ("modbus", "Eastron SDM120-Modbus")
        assert (info["unit"], info["units"]["energy"]) == (1, "kWh")
        topic = "berrygate/test/data/climate/readings"
        assert any(message.topic == topic for message in heard.messages)
        presence = "berrygate/test/status/{}/presence"
        heard.wait(lambda: last(heard, presence.format("climate")).get("state") == "online")

        server.silent.add(2)
        gone = time.monotonic()
        heard.wait(lambda: last(heard, presence.format("climate"))["state"] == "offline", 10)
        assert "no answer within 300ms" in last(heard, presence.format("climate"))["evidence"]
        health = "berrygate/test/health/stage/intake-cellar"
        heard.wait(lambda: "climate (unit 2)" in str(last(heard, health)["reasons"]), 10)
        print(f"seen after {time.monotonic() - gone:.1f} s")
        assert last(heard, health)["level"] not in ("EXCELLENT", "GOOD")
        assert last(heard, presence.format("mains"))["state"] == "online"
        assert source(house)["state"] == "running"
        before = len(house.values("mains", "voltage"))
        house.wait(lambda: len(house.values("mains", "voltage")) > before)

        server.set(2, "input", 1, 0xFFCE)
        server.silent.clear()
        house.wait(lambda: house.values("climate", "temperature")[-1] == -5.0)
        heard.wait(lambda: last(heard, presence.format("climate"))["state"] == "online", 10)
        heard.wait(lambda: "no answer" not in str(last(heard, health)["reasons"]), 30)
        assert house.differences() == {"cellar": 0}


def test_a_server_that_is_restarted(tmp_path: Path) -> None:
    port = free_port()
    server = tcp_server(port, {1: CLIMATE}).start()
    device = {
        "type": "modbus", "id": "cellar", "host": "127.0.0.1", "port": port,
        "units": [{"device": "climate", "map": "xy-md02", "every": "100ms"}],
    }  # fmt: skip
    broker = {"port": free_port()}
    with (
        gateway(tmp_path / "house", broker=broker, devices=[device]) as house,
        subscriber(house.broker_port) as heard,
    ):
        house.wait(lambda: house.values("climate", "temperature")[:1] == [21.5])
        server.stop()
        house.wait(lambda: source(house)["state"] == "failing", 10)
        presence = "berrygate/test/status/climate/presence"
        heard.wait(lambda: last(heard, presence).get("state") == "offline", 10)
        assert "Connection refused" in last(heard, presence)["evidence"]
        server.start()
        server.set(1, "input", 1, 300)
        house.wait(lambda: house.values("climate", "temperature")[-1] == 30.0)
        heard.wait(lambda: last(heard, presence)["state"] == "online", 10)
        assert house.differences() == {"cellar": 0}
    server.stop()
