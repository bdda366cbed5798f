"""How much is let gather before it is read: what waits anyway may come together."""

import time

import paho.mqtt.client as paho
import pytest

from gateway.io.mqtt.bulk import BulkClient
from gateway.io.mqtt.receiver import Receiver


def receiver(gather: float = 1.0) -> Receiver:
    return Receiver(b"own/", b"echo", lambda topic, payload: None, lambda: None, lambda: gather)


def test_where_acknowledgements_wait_for_a_commit_more_is_read_at_once() -> None:
    found = receiver()
    assert found.worth() == 200
    found.window.arrived(900)
    found.window.acknowledged(900)
    assert found.worth() == 600, "the broker would stop at 900, as far as is known"
    found.window.arrived(9_000)
    assert found.worth() == 1_000
    found.window.renewed()
    assert found.worth() == 200, "another connection may allow less"


def test_where_they_wait_for_nothing_few_are_read_at_once() -> None:
    found = receiver()
    for _ in range(10):
        found.window.arrived(240)
        found.window.acknowledged(240)
    assert found.worth() == 200


@pytest.mark.parametrize(
    ("worth", "patience", "paused"), [(200, 0.2, 0.024), (1_000, 0.2, 0.1), (1_000, 0.05, 0.05)]
)
def test_how_long_it_gathers_at_10_000_a_second(
    monkeypatch: pytest.MonkeyPatch, worth: int, patience: float, paused: float
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    client = BulkClient(paho.CallbackAPIVersion.VERSION2)
    client.worth, client.patience = lambda: worth, lambda: patience
    client._pause(1)
    now += 0.1
    assert client._pause(1_000) == pytest.approx(paused)
