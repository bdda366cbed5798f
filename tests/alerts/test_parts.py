"""Rules on health, presence and figures."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.alerts.parts import PartRules
from gateway.alerts.rules import Rule
from gateway.config.alerting import RuleSettings
from gateway.core.contracts import Value
from gateway.core.figures import Figure
from gateway.stages.health import Deduction, Health

Found = Sequence[Deduction] | None


def lost(metric: str, cost: int) -> list[Deduction]:
    return [Deduction(metric, 1, 0, cost, f"{metric} it is")]


class Looking:
    """A rule, and what it is told each second."""

    def __init__(self, **rule: Any) -> None:
        self.health = Health()
        self.seen: list[tuple[str, Value | None, str]] = []
        self.there: set[str] = set()
        self.figures: dict[str, dict[str, Figure]] = {}
        made = Rule(RuleSettings.model_validate({"name": "r", **rule}), "test")
        self.parts = PartRules([made], self.health, lambda: self.figures, self._observe, self._gone)
        self.parts._began -= 60  # past the start

    def _observe(self, rule: Rule, source: str, value: Value | None, why: str = "") -> bool:
        self.seen.append((source, value, why))
        return False

    def _gone(self, rule: Rule, seen: set[str]) -> None:
        self.there = seen

    def look(self) -> list[tuple[str, Value | None, str]]:
        self.seen.clear()
        self.health.evaluate()
        self.parts.look()
        return sorted(self.seen)


def test_health_of_parts_of_devices_and_of_the_whole() -> None:
    looking = Looking(health=["bridge/*", "device/soil-*", "gateway"], level="CRITICAL")
    looking.health.register("bridge", "home", lambda: lost("lag", 70))
    looking.health.register("stage", "journal", list)
    looking.health.watch("soil-1", list)
    looking.health.watch("pump", list)
    found = {source: (value, why) for source, value, why in looking.look()}
    assert set(found) == {"bridge/home", "device/soil-1", "gateway"}
    assert found["bridge/home"] == ("CRITICAL", "lag it is")
    assert found["device/soil-1"] == ("EXCELLENT", "")
    assert looking.look() == []  # the same again is no news
    assert looking.there == {"bridge/home", "device/soil-1", "gateway"}


def test_scores() -> None:
    looking = Looking(health="bridge/*", below=50)
    looking.health.register("bridge", "home", lambda: lost("lag", 70))
    assert looking.look() == [("bridge/home", 30, "lag it is")]


def test_presence() -> None:
    said: dict[str, Found] = {
        "a": [], "b": lost("staleness", 40), "c": lost("staleness", 80), "d": None,
        "e": lost("battery", 90),
    }  # fmt: skip
    looking = Looking(presence="*", state="stale")
    for device in said:
        looking.health.watch(device, lambda device=device: said[device])
    assert [(source, value) for source, value, _ in looking.look()] == [
        ("a", "online"), ("b", "stale"), ("c", "offline"), ("d", None), ("e", "online"),
    ]  # fmt: skip


def test_how_much_a_figure_or_a_score_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("gateway.alerts.parts.time.monotonic_ns", lambda: int(now[0] * 1e9))
    looking = Looking(figure="errors", of="bridge/*", change="10s", above=5)
    found = []
    for errors in (7, 7, 9, 20, 20, 20, 20, 20):
        looking.figures = {"bridge/home": {"errors": Figure(errors)}}
        found += [value for _, value, _ in looking.look()]
        now[0] += 3.0
    # What was there before we looked is no change; once it is old it is none any more.
    assert found == [0.0, 2.0, 13.0, 11.0, 0.0]
    looking.figures = {}
    looking.look()
    looking.figures = {"bridge/home": {"errors": Figure(30)}}
    assert [value for _, value, _ in looking.look()] == [0.0]
    cost = [0]
    looking = Looking(health="bridge/*", change="10s", below=-20)
    looking.health.register("bridge", "home", lambda: lost("lag", cost[0]))
    looking.look()
    cost[0] = 40
    assert [value for _, value, _ in looking.look()] == [-40.0]
    rule = RuleSettings.model_validate({"name": "r", "health": "*", "change": "10m", "below": -20})
    said = Rule(rule, "t").message("bridge/home", -40.0, 0, "lag")
    assert said == "bridge/home: health changed by -40 in 10m (limit -20)"


def test_figures() -> None:
    looking = Looking(figure="lag", of="bridge/*", above=300)
    looking.figures = {
        "bridge/home": {"lag": Figure(400.0, "why")},
        "bridge/away": {},
        "stage/machine": {"lag": Figure(1.0)},
    }
    assert looking.look() == [("bridge/home", 400.0, "why")]
    looking.figures = {}
    looking.look()
    assert looking.there == set()  # a bridge that is gone has no alert any more
