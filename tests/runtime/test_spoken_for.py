"""Devices that do not speak MQTT, and are forgotten or merged: what is published for them."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.runtime.test_managing import call, meet, retained
from tests.support.coap import Client
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def house(tmp_path: Path, port: int) -> Iterator[Gateway]:
    devices = [{"type": "coap", "port": port}, {"type": "mqtt"}]
    with gateway(tmp_path, broker={"port": free_port()}, devices=devices) as found:
        yield found


def said(look: Subscriber, topic: str) -> bool:
    """Whether something came on a topic of the gateway."""
    return any(each.topic == f"berrygate/test/{topic}" for each in look.messages)


def test_what_was_held_of_a_forgotten_device_is_not_told(house: Gateway, port: int) -> None:
    with Client(port) as tank, subscriber(house.broker_port, "berrygate/test/#") as look:
        for level in range(3):  # of these the first is told at once, the last after a second
            tank.post("tank", b'{"level": %d}' % level)
        look.wait(partial(said, look, "state/tank/readings"), 20)
        assert call(house, "DELETE", "tank").status_code == 200
    time.sleep(1.5)
    assert retained(house, "tank") == set()


def test_a_merged_device_that_we_speak_for_now_is_told_of(house: Gateway, port: int) -> None:
    meet(house, "qq")
    with Client(port) as tank, subscriber(house.broker_port, "berrygate/test/#") as look:
        tank.post("tank", b'{"level": 1}')
        look.wait(partial(said, look, "data/tank/readings"), 20)
        assert call(house, "POST", "tank/merge", {"into": "qq"}).status_code == 200
        tank.post("tank", b'{"level": 2}')
        for topic in ("data/qq/readings", "state/qq/readings", "meta/qq/info"):
            look.wait(partial(said, look, topic), 20)


def test_a_merged_device_that_speaks_itself_now_is_not_told_of(house: Gateway, port: int) -> None:
    with Client(port) as tank:
        tank.post("tank", b'{"level": 1}')
    house.wait(lambda: "berrygate/test/state/tank/readings" in retained(house, "tank"))
    meet(house, "qq")
    assert call(house, "POST", "qq/merge", {"into": "tank"}).status_code == 200
    house.wait(lambda: "berrygate/test/state/tank/readings" not in retained(house, "tank"), 20)
