"""Rules on readings: found by device and metric, changes, absence; nothing where none looks."""

import time
from typing import Any

from gateway.alerts.readings import ReadingRules
from gateway.alerts.rules import Rule
from gateway.config.alerting import RuleSettings
from gateway.core.contracts import Flag, Reading, Value


class FewDevices:
    """Stands for the registry: ids, and how long each has been silent."""

    def __init__(self) -> None:
        self.silences: dict[str, float] = {}

    def list(self) -> Any:
        return [type("Device", (), {"id": name}) for name in self.silences]

    def get(self, device: str) -> Any:
        return type("Device", (), {"silent": self.silences[device]})


class Looking:
    """Rules and what they said."""

    def __init__(self, *rules: dict[str, Any], before: bool = False) -> None:
        self.devices = FewDevices()
        self.seen: list[tuple[str, str, Value | None]] = []
        self.away: dict[str, bool] = {}
        made = [
            Rule(RuleSettings.model_validate({"name": f"r{n}", **rule}), "test")
            for n, rule in enumerate(rules)
        ]
        self.rules = ReadingRules(
            made,
            self.devices,  # type: ignore[arg-type]
            self._observe,
            lambda rule, source, absent: self.away.update({source: absent}),
            lambda rule, source: before,
        )

    def _observe(self, rule: Rule, source: str, value: Value | None) -> bool:
        self.seen.append((rule.name, source, value))
        return bool(rule.breached(value, False)) if value is not None else True

    def take(self, device: str, moment: float = 0.0, flags: int = 0, **values: Value) -> None:
        self.rules.take([Reading(device, int(moment * 1e9), values, flags)])


def test_by_device_and_metric() -> None:
    looking = Looking(
        {"device": ["soil-*", "!soil-9"], "metric": "battery", "below": 20},
        {"device": "*", "metric": "open", "equals": True},
    )
    looking.take("soil-4", battery=10.0, moisture=3.0)
    looking.take("soil-9", battery=10.0)
    looking.take("door", open=True, battery=1.0)
    assert looking.seen == [("r0", "soil-4", 10.0), ("r1", "door", True)]


def test_what_nobody_looks_at_is_not_even_taken() -> None:
    looking = Looking({"device": "soil-*", "metric": "battery", "below": 20})
    assert not looking.rules.wants([Reading("pump", 0, {"battery": 1.0})] * 3)
    assert looking.rules.wants([Reading("pump", 0, {}), Reading("soil-1", 0, {})])


def test_replayed_readings_say_nothing_of_now() -> None:
    looking = Looking({"device": "a", "metric": "m", "above": 0})
    looking.take("a", flags=int(Flag.HISTORICAL), m=1.0)
    assert looking.seen == []


def test_change_within_a_time() -> None:
    looking = Looking({"device": "a", "metric": "m", "above": -1, "change": "10s"})
    for second in range(31):
        looking.take("a", second, m=float(second) if second <= 20 else 20.0)
    changes = [value for _, _, value in looking.seen]
    assert changes[5] == 5.0  # not a whole window yet
    assert changes[10:21] == [10.0] * 11
    assert changes[30] == 0.0
    for tenth in range(10_000):
        looking.take("a", 40 + tenth / 100, m=1.0)
    watch = looking.rules._known["a"].metrics["m"][0]  # type: ignore[union-attr]
    assert watch.change is not None
    assert len(watch.change._points) <= 66


def test_absence_of_a_metric_and_of_a_device() -> None:
    looking = Looking({"device": "a", "metric": "m", "absent": "60s"})
    looking.take("a", m=1.0)
    assert looking.away == {"a": False}
    looking.rules.look()
    assert looking.away == {"a": False}
    looking.rules._known["a"].silence[0].heard = time.monotonic() - 61  # type: ignore[union-attr]
    looking.rules.look()
    assert looking.away == {"a": True}
    looking.take("a", other=1.0)
    looking.rules.look()
    assert looking.away == {"a": True}
    whole = Looking({"device": "*", "absent": "60s"})
    whole.devices.silences = {"a": 59.0, "b": 61.0}
    whole.rules.look()
    assert whole.away == {"a": False, "b": True}


def test_a_restart_is_no_reading() -> None:
    looking = Looking({"device": "a", "metric": "m", "absent": "60s"}, before=True)
    looking.rules.look()
    assert looking.away == {"a": True}


def test_what_is_well_is_passed_over_until_something_happens() -> None:
    looking = Looking({"device": "a", "metric": "m", "above": 5, "below": 1})
    for value in (3.0, 4.0, 5.0, 1.0, 5.1, 3.0, 3.0, float("nan"), 2.0, 0.5, 3.0):
        looking.take("a", m=value)
    looking.take("a", m="text")
    seen = [str(value) for _, _, value in looking.seen]
    # The first one; what is too high or low, and the one that ends it; what is no number.
    assert seen == ["3.0", "5.1", "3.0", "nan", "0.5", "3.0", "text"]
