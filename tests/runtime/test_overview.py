"""The overview of a real gateway: what comes first, what is left out, and what it costs."""

import json
import time
from collections import deque
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.runtime import overview as module
from gateway.runtime.overview import Looks
from gateway.stages.health import Deduction, Health
from gateway.store.devices import Devices
from gateway.web.sockets import connect
from tests.support.gateway import Gateway, gateway
from tests.support.listener import Listener
from tests.support.ports import free_port
from tests.support.publisher import Publisher


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    database = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    yield Devices(database)
    database.close()


def add(devices: Devices, *names: str) -> None:
    for name in names:
        devices.id_of(name, "mqtt")


def hear(devices: Devices, name: str, times: int = 1) -> None:
    devices.seen([Reading(name, time.time_ns(), {"x": 1.0})] * times)


def ask(
    devices: Devices,
    looks: Looks,
    sort: str = "id",
    text: str = "",
    limit: int = 50,
    offset: int = 0,
) -> Any:
    return module._devices(devices.list(), Health(), looks, sort, text, limit, offset)


def ids(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["rows"]]


def test_a_device_that_was_not_heard_yet_has_that_for_a_reason(devices: Devices) -> None:
    add(devices, "pump", "soil")
    hear(devices, "soil")
    add(devices, "ignored")
    health = Health()
    for name in ("pump", "soil"):
        health.watch(name, lambda: None)
    found: Any = module._devices(devices.list(), health, deque(), "id", "", 50, 0)
    assert {row["id"]: row["why"] for row in found["rows"]} == {
        "pump": "not heard since the gateway was started", "soil": None, "ignored": None,
    }  # fmt: skip


def test_filter_and_page(devices: Devices) -> None:
    add(devices, *(f"pump-{n}" for n in range(30)), "soil-1")
    found = ask(devices, deque(), text="pump", limit=10, offset=25)
    assert (found["count"], found["matching"]) == (31, 30)
    assert ids(found) == ["pump-5", "pump-6", "pump-7", "pump-8", "pump-9"]
    assert ids(ask(devices, deque(), text="nothing")) == []


def test_rates_are_over_what_came_in_between(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    add(devices, "slow", "fast")
    hear(devices, "slow", 500)
    looks: Looks = deque()
    assert [row["rate"] for row in ask(devices, looks, "rate")["rows"]] == [None, None]
    now += 1
    hear(devices, "slow", 1)
    hear(devices, "fast", 7)
    add(devices, "new")
    hear(devices, "new", 3)
    found = ask(devices, looks, "rate")
    assert [(row["id"], row["rate"]) for row in found["rows"]] == [
        ("fast", 7.0), ("new", 3.0), ("slow", 1.0),
    ]  # fmt: skip
    for _ in range(40):  # an asker's window does not grow, and neither does what is remembered
        now += 1
        hear(devices, "slow", 2)
        found = ask(devices, looks, "rate")
    assert found["rows"][0]["id"] == "slow"
    assert found["rows"][0]["rate"] == pytest.approx(2.0, abs=0.01)
    assert len(looks) <= 7
    now += 3_600  # nobody asked for an hour
    assert [row["rate"] for row in ask(devices, looks, "rate")["rows"]] == [None] * 3


def test_the_worst_and_the_longest_silent_come_first(devices: Devices) -> None:
    add(devices, "never", "bad", "well", "worse")
    for name in ("bad", "worse", "well"):
        hear(devices, name)
    health = Health()
    costs = {"bad": [30], "worse": [80], "well": []}
    for name, cost in costs.items():
        reasons = [Deduction("x", 1, 0, each, "why") for each in cost]
        health.watch(name, Listener(reasons))
    health.evaluate()
    found = module._devices(devices.list(), health, deque(), "state", "", 50, 0)
    assert ids(found) == ["worse", "bad", "well", "never"]
    assert found["levels"] == {"FAILED": 1, "WARNING": 1, "EXCELLENT": 1}
    assert ids(ask(devices, deque(), "seen")) == ["never", "bad", "worse", "well"]
    hear(devices, "bad", 5)
    assert ids(ask(devices, deque(), "readings"))[0] == "bad"


@pytest.mark.alone
def test_a_poll_costs_little_where_there_are_many_devices(devices: Devices) -> None:
    """Compared with telling of all of them, which `devices` does; measured in one run."""
    add(devices, *(f"d{n}" for n in range(5_000)))
    looks: Looks = deque()
    ask(devices, looks, "rate")
    began = time.process_time()
    whole = msgspec.json.encode([device.as_dict() for device in devices.list()])
    everything = time.process_time() - began
    spent = []
    for _ in range(5):
        began = time.process_time()
        page = msgspec.json.encode(ask(devices, looks, "rate"))
        spent.append(time.process_time() - began)
    assert len(page) < len(whole) / 20
    assert min(spent) < everything / 2


def test_of_a_running_gateway(tmp_path: Path) -> None:
    with gateway(tmp_path, broker={"port": free_port()}) as house:
        publisher = Publisher(house.broker_port, devices=20)
        publisher.run(0, 200)
        house.wait(lambda: house.api("status")["ledger"]["sources"]["mqtt"]["journalled"] == 200)
        found = control(house, sort="readings", filter="d1", limit=3)
        assert [row["readings"] for row in found["devices"]["rows"]] == [10, 10, 10]
        assert found["devices"]["matching"] == 11
        status = house.api("status")
        assert found["journal"]["appended"] > 0
        assert found["health"]["level"] == status["health"]["level"]
        assert found["process"]["pid"] == house.pid
        source = next(each for each in found["sources"] if each["name"] == "mqtt")
        assert source["received"] == 200
        assert {"decode", "journal"} <= found["stages"].keys()


def control(house: Gateway, **args: Any) -> Any:
    """What the control socket answers."""
    with connect(house.directory / "data/control.sock", 5) as connection:
        connection.sendall(json.dumps({"call": "overview", "args": args}).encode() + b"\n")
        answer = json.loads(connection.makefile().readline())
    return answer["ok"]
