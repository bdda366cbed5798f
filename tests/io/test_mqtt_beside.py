"""Topics that a source subscribes to besides those of its configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.io.mqtt.beside import Beside
from gateway.io.mqtt.subscriptions import Subscriptions


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_wanted_and_what_no_longer() -> None:
    beside = Beside(Clock())
    assert beside.changes() == ([], [])
    for topic in ("a", "b", "c"):
        beside.want(topic, True)
    beside.want("b", False)
    assert beside.changes() == (["a", "c"], [])
    beside.want("a", False)
    beside.want("never", False)
    assert beside.changes() == ([], ["a"])
    assert beside.topics == {"c"}


def test_those_of_an_earlier_run_stay_until_devices_have_announced_themselves_again() -> None:
    clock = Clock()
    beside = Beside(clock)
    beside.begin(["a", "b"])
    assert beside.topics == {"a", "b"}
    beside.want("a", True)
    assert beside.changes() == (["a"], [])  # again, for what is retained
    clock.now = 59
    assert beside.changes() == ([], [])
    clock.now = 61
    assert beside.changes() == ([], ["b"])
    assert beside.topics == {"a"}


def test_a_reconnect_leaves_alone_what_is_wanted() -> None:
    clock = Clock()
    beside = Beside(clock)
    beside.want("a", True)
    beside.changes()
    beside.begin(["a"])
    clock.now = 100
    assert beside.changes() == ([], [])
    assert beside.topics == {"a"}


def test_topics_are_bounded() -> None:
    beside = Beside(Clock())
    for number in range(10_100):
        beside.want(f"t/{number}", True)
    come, _ = beside.changes()
    assert len(come) == len(beside.topics) == 10_000


class Client:
    """Notes what it is to do."""

    def __init__(self) -> None:
        self.subscribed: list[list[str]] = []
        self.unsubscribed: list[str] = []

    def subscribe(self, filters: list[tuple[str, Any]]) -> tuple[int, int]:
        self.subscribed.append([topic for topic, _ in filters])
        return 0, len(self.subscribed)

    def unsubscribe(self, topics: list[str]) -> None:
        self.unsubscribed += topics


class Refused:
    is_failure = True

    def __str__(self) -> str:
        return "Not authorized"


def made(memory: Path, beside: Beside | None) -> Subscriptions:
    return Subscriptions(["own/+"], 1, True, memory, "me at broker", beside)


def remembered(memory: Path) -> list[str]:
    found: list[str] = json.loads(memory.read_text())["filters"]
    return found


def test_they_are_remembered_like_the_others(tmp_path: Path) -> None:
    memory, client, clock = tmp_path / "m.json", Client(), Clock()
    first = Beside(clock)
    one = made(memory, first)
    one.begin(client)  # type: ignore[arg-type]
    for number in range(450):
        first.want(f"t/{number:03}", True)
    one.look(client)  # type: ignore[arg-type]
    assert [len(packet) for packet in client.subscribed] == [1, 200, 200, 50]
    assert len(remembered(memory)) == 451
    # Started again: nothing is unsubscribed before it is known to be gone.
    client, second = Client(), Beside(clock)
    two = made(memory, second)
    two.begin(client)  # type: ignore[arg-type]
    assert client.unsubscribed == []
    assert sum(map(len, client.subscribed)) == 451
    for number in range(1, 450):
        second.want(f"t/{number:03}", True)
    clock.now = 61
    two.look(client)  # type: ignore[arg-type]
    assert client.unsubscribed == ["t/000"]
    assert len(remembered(memory)) == 450
    # A source that discovers no more unsubscribes from all of them.
    client = Client()
    made(memory, None).begin(client)  # type: ignore[arg-type]
    assert len(client.unsubscribed) == 449


class Granted:
    is_failure = False


def test_what_families_use_may_be_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = Subscriptions(["own/+", "tele/+"], 1, True, tmp_path / "m", "me", None, ["tele/+"])
    assert one.refused([Granted(), Refused()]) == []
    assert "tele/+: Not authorized" in caplog.text
    assert one.refused([Refused(), Refused()]) == ["own/+: Not authorized"]


def test_one_that_is_refused_does_not_stop_the_source(tmp_path: Path) -> None:
    client, beside = Client(), Beside(Clock())
    one = made(tmp_path / "m.json", beside)
    one.begin(client)  # type: ignore[arg-type]
    beside.want("t", True)
    one.look(client)  # type: ignore[arg-type]
    assert not one.answered(1, [Refused()])  # the configuration's own
    assert one.answered(2, [Refused()])
    assert not one.answered(2, [Refused()])
