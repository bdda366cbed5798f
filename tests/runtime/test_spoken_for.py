"""Devices that do not speak MQTT, and are forgotten or merged: what is published for them."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.runtime.test_managing import call, retained
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
