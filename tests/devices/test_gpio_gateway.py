"""The GPIO header at a gateway as its users have it: killed, stopped, without its broker."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from paho.mqtt import publish

from tests.support.faults import runs, seeded
from tests.support.gateway import Gateway
from tests.support.mosquitto import Mosquitto
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber


class Board:
    """A gateway with mock pins, which a test drives; see tests.support.pins."""

    def __init__(self, directory: Path, pins: dict[str, Any], **config: Any) -> None:
        self._socket = str(directory / "pins.sock")
        self._log = directory / "pins.log"
        devices = [{"type": "gpio", "id": "board", "pins": pins}]
        config = {"broker": {"port": free_port()}, **config}
        self.house = Gateway(directory / "house", devices=devices, **config)
        self.house.module = "tests.support.pins"
        self.house.environment = {
            "GPIOZERO_PIN_FACTORY": "mock", "PINS_SOCKET": self._socket, "PINS_LOG": str(self._log),
        }  # fmt: skip

    def start(self) -> "Board":
        self.house.start()
        self.house.wait(lambda: self.source["state"] == "running" or bool(self.source["pins"]))
        self.house.wait(lambda: all(pin["open"] for pin in self.source["pins"].values()))
        return self

    @property
    def source(self) -> dict[str, Any]:
        (found,) = self.house.api("status")["sources"]
        return dict(found)

    def ask(self, do: str, **args: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._socket)
            with connection.makefile("rw") as lines:
                lines.write(json.dumps({"do": do, **args}) + "\n")
                lines.flush()
                return json.loads(lines.readline())

    def tell(self, name: str, **args: Any) -> None:
        status, error = self.ask("execute", device="board", name=name, args=args)
        assert status == "ok", error

    def set_to(self, pin: int) -> list[float]:
        """All that an output pin was ever set to, over all starts."""
        rows = [row.split() for row in self._log.read_text().splitlines()]
        return [
            float(value) for name, how, value in rows if (name, how) == (f"GPIO{pin}", "output")
        ]


@contextmanager
def board(directory: Path, pins: dict[str, Any], **config: Any) -> Iterator[Board]:
    found = Board(directory, pins, **config).start()
    try:
        yield found
    finally:
        if found.house.process is not None and found.house.process.poll() is None:
            found.house.stop()


def last(heard: Subscriber, topic: str) -> dict[str, Any]:
    found = [message.json for message in list(heard.messages) if message.topic == topic]
    return dict(found[-1]) if found else {}


METER = {"kind": "counter", "pin": 5, "per_unit": 1, "unit": "L", "interval": "200ms"}


def test_what_others_see(tmp_path: Path) -> None:
    pins = {
        "door": {"kind": "contact", "pin": 17, "debounce": "10ms"},
        "lamp": {"kind": "led", "pin": 22},
        "water": METER,
    }
    with board(tmp_path, pins) as found, subscriber(found.house.broker_port) as heard:
        house, state = found.house, "berrygate/test/state/board/readings"
        heard.wait(lambda: last(heard, state).get("values", {}).get("door") is True)
        found.ask("low", pin=17)
        heard.wait(lambda: last(heard, state)["values"]["door"] is False)
        found.tell("lamp", value=True)
        heard.wait(lambda: last(heard, state)["values"]["lamp"] is True)
        info = last(heard, "berrygate/test/meta/board/info")
        assert (info["source"], info["units"]["water.total"]) == ("gpio", "L")
        presence = "berrygate/test/status/board/presence"
        heard.wait(lambda: last(heard, presence).get("state") == "online")
        house.wait(lambda: 0 in house.values("board", "door"))
        assert found.source["commands"] == ["lamp", "water"]
        assert house.differences() == {"board": 0}


@pytest.mark.timeout(600)
def test_kills_lose_no_pulse_that_was_counted(tmp_path: Path) -> None:
    chance, rounds = seeded(), runs(4, 60)
    found = Board(tmp_path, {"water": METER})
    house, sent = found.house, 0
    for _ in range(rounds):
        found.start()
        total = float(sent)
        house.wait(lambda want=total: house.values("board", "water.total")[-1:] == [want])
        for _ in range(chance.randint(1, 4)):
            count = chance.randint(1, 200)
            found.ask("pulse", pin=5, count=count, every=0.001)
            sent += count
            time.sleep(chance.uniform(0, 0.2))
        time.sleep(0.5)  # a pulse is kept within 0.1 s; and the machine has other things to do
        house.kill()
    found.start()
    total = float(sent)
    house.wait(lambda: house.values("board", "water.total")[-1:] == [total])
    print(f"{rounds} kills, {sent} pulses: 0 lost")
    house.stop()


def test_a_kill_in_the_midst_of_pulses_costs_a_moment(tmp_path: Path) -> None:
    found = Board(tmp_path, {"water": METER}).start()
    house, sent = found.house, 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        found.ask("pulse", pin=5, count=10, every=0.001)
        sent += 10
    house.kill()
    found.start()
    house.wait(lambda: bool(house.values("board", "water.total")))
    house.wait(lambda: house.values("board", "water.total")[-1] > 0.7 * sent)
    lost = sent - int(house.values("board", "water.total")[-1])
    print(f"{sent} pulses in 2 s, {lost} lost")
    assert 0 <= lost < 0.3 * sent
    house.stop()


def test_outputs_when_the_gateway_ends(tmp_path: Path) -> None:
    pins = {
        "heat": {"kind": "relay", "pin": 23, "on_loss": "safe", "initial": "last"},
        "light": {"kind": "relay", "pin": 24},
        "vent": {"kind": "relay", "pin": 25, "on_loss": "safe", "safe": "on", "active": "low"},
    }
    with board(tmp_path, pins) as found:
        assert [found.ask("state", pin=pin) for pin in (23, 24, 25)] == [0, 0, 1]
        for name in pins:
            found.tell(name, value=True)
        found.tell("vent", value=False)
        assert [found.ask("state", pin=pin) for pin in (23, 24, 25)] == [1, 1, 1]
        assert found.house.stop() == 0
        assert [found.set_to(pin)[-1] for pin in (23, 24, 25)] == [0, 1, 0]
        # Killed it can do nothing: then they are as they were, until it starts again.
        found.start()
        assert found.ask("state", pin=23) == 1
        assert found.ask("state", pin=24) == 0
        found.house.kill()
        assert found.set_to(23)[-1] == 1
        found.start()
        assert found.ask("state", pin=23) == 1


def test_outputs_when_the_gateway_falls_over(tmp_path: Path) -> None:
    """Something of its own fails so that it ends: what ends it takes the same way out."""
    pins = {"heat": {"kind": "relay", "pin": 23, "on_loss": "safe", "dwell": "0s"}}
    with board(tmp_path, pins) as found:
        found.tell("heat", value=True)
        assert found.ask("crash") is None
        assert found.house.process is not None
        assert found.house.process.wait(30) != 0
        assert found.set_to(23)[-1] == 0


def test_outputs_without_the_broker(tmp_path: Path) -> None:
    pins = {
        "heat": {"kind": "relay", "pin": 23, "on_loss": "safe", "loss_after": "1s"},
        "light": {"kind": "relay", "pin": 24},
    }
    broker = Mosquitto(tmp_path / "broker").start()
    settings = {"url": f"mqtt://127.0.0.1:{broker.port}"}
    try:
        with board(tmp_path, pins, broker=settings) as found:
            found.house.wait(lambda: found.house.api("status")["broker"]["connected"])
            for name in pins:
                found.tell(name, value=True)
            time.sleep(2)
            assert found.ask("state", pin=23) == 1
            broker.kill()
            found.house.wait(lambda: found.ask("state", pin=23) == 0, 20)
            assert found.ask("state", pin=24) == 1
            house = found.house
            house.wait(lambda: house.values("board", "heat")[-1:] == [0])
    finally:
        broker.stop()


def test_a_relay_is_told_what_to_do_over_mqtt_and_http(tmp_path: Path) -> None:
    with board(tmp_path, {"pump": {"kind": "relay", "pin": 17, "dwell": "0s"}}) as found:
        house = found.house
        with subscriber(house.broker_port, "berrygate/test/res/board/#") as heard:
            topic = "berrygate/test/cmd/board/pump"
            told = {"id": "one", "args": {"value": "on"}}
            publish.single(topic, json.dumps(told), qos=1, port=house.broker_port)
            house.wait(lambda: any(b'"ok"' in message.payload for message in heard.messages))
            assert found.set_to(17)[-1] == 1.0
            house.wait(lambda: house.values("board", "pump")[-1:] == [1.0])
        url = f"{house.url}/api/v1/devices/board/commands/pump"
        answer = httpx.post(url, json={"args": {"value": "off"}})
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert found.set_to(17)[-1] == 0.0
        wrong = httpx.post(url, json={"args": {"valve": "off"}})
        assert wrong.status_code == 422
        assert "missing: value" in wrong.text
        assert found.set_to(17)[-1] == 0.0
