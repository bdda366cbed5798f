"""What is an alert: conditions, hysteresis, waiting, flapping; one for each rule and source."""

from typing import Any

import pytest

from gateway.alerts.alert import Alert, State
from gateway.alerts.engine import Engine
from gateway.alerts.rules import Rule
from gateway.config.alerting import RuleSettings


class Clock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> int:
        return 1_795_000_000_000_000_000 + int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class Watched:
    """An engine with one rule, and what it said."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.rule = Rule(RuleSettings.model_validate({"name": "r", **settings}), "test")
        self.said: list[tuple[str, str]] = []
        self.engine = Engine([self.rule], self._changed, self.clock.now, self.clock.monotonic)

    def _changed(self, alert: Alert) -> None:
        self.said.append((alert.source, alert.shown(False).value))

    def see(self, *values: Any, source: str = "soil-4", every: float = 1.0) -> None:
        """Values, one a second."""
        for value in values:
            self.engine.observe(self.rule, source, value)
            self.clock.seconds += every
            self.engine.tick()

    def later(self, seconds: float) -> None:
        """Nothing is seen for a while."""
        for _ in range(int(seconds)):
            self.clock.seconds += 1.0
            self.engine.tick()

    @property
    def states(self) -> list[str]:
        return [state for _, state in self.said]


LOW = {"device": "soil-*", "metric": "battery", "below": 20}


def test_threshold_and_hysteresis() -> None:
    watched = Watched(**LOW, clear=25, clear_for="0s")
    watched.see(30, 20, 19.9, 10, 22, 24.9, 19, 25)
    assert watched.states == ["firing", "resolved"]
    alert = watched.engine.all()[0]
    assert (alert.state, alert.count, alert.limit) == (State.RESOLVED, 1, "20")


def test_the_text_of_one_that_goes_on_follows_what_it_is_of() -> None:
    watched = Watched(**LOW, message="{device}: {value}")
    texts = []
    for value in (19, 18, 17):
        watched.see(value)
        texts.append(watched.engine.all()[0].message)
        watched.clock.seconds += 40
    assert texts == ["soil-4: 19", "soil-4: 19", "soil-4: 17"]
    assert watched.states == ["firing"]


def test_the_text_follows_a_state_at_once() -> None:
    watched = Watched(presence="*", state="stale", message="{device} is {value}")
    watched.see("stale")
    watched.see("offline")  # and what goes on is not said again
    assert watched.engine.all()[0].message == "soil-4 is offline"


@pytest.mark.parametrize(
    ("settings", "bad", "good"),
    [
        ({"above": 5}, [5.1, True and 6], [5, "text", float("nan")]),
        ({"above": 5, "below": 1}, [6, 0.5], [1, 3, 5]),
        ({"equals": True}, [True], [False, 1.0, "true"]),
        ({"equals": "open"}, ["open"], ["closed", 1.0]),
        ({"equals": 3}, [3.0], [3.1, "3"]),
    ],
)
def test_conditions(settings: dict[str, Any], bad: list[Any], good: list[Any]) -> None:
    rule = Rule(
        RuleSettings.model_validate({"name": "r", "device": "a", "metric": "m", **settings}), "t"
    )
    assert all(rule.breached(value, False) is True for value in bad)
    assert not any(rule.breached(value, False) for value in good)


def test_health_and_presence_are_as_bad_or_worse() -> None:
    health = Rule(RuleSettings(name="h", health=("*",), level="WARNING"), "t")
    assert [health.breached(v, False) for v in ("GOOD", "WARNING", "FAILED", "UNKNOWN")] == [
        False, True, True, None,
    ]  # fmt: skip
    away = Rule(RuleSettings(name="p", presence=("*",), state="offline"), "t")
    assert [away.breached(v, False) for v in ("online", "stale", "offline")] == [
        False, False, True,
    ]  # fmt: skip
    # What was offline is not back because nobody can tell for a while, as after a restart.
    assert [away.breached(v, True) for v in ("online", "stale", "offline")] == [False, True, True]


def test_it_is_pending_for_a_while() -> None:
    watched = Watched(**LOW, **{"for": "5s"}, clear_for="0s")
    watched.see(10, 10, 10)
    assert watched.engine.all()[0].state is State.PENDING
    watched.see(30)
    assert watched.engine.all() == []
    watched.see(10, 10, 10, 10)
    assert watched.said == []
    watched.later(3)  # no reading is needed for time to pass
    assert watched.states == ["firing"]


def test_flapping_is_one_alert() -> None:
    watched = Watched(**LOW)
    watched.see(*[10, 30] * 60)
    assert watched.states == ["firing"]
    watched.later(30)
    assert watched.states == ["firing", "resolved"]


def test_one_that_keeps_coming_back_is_held_longer_each_time() -> None:
    watched = Watched(**LOW)
    for _ in range(6):
        watched.see(10, 30)
        watched.later(35)
    # Held 10 s, then 20 s, then 40 s: from there on it does not end in between.
    assert watched.states == ["firing", "resolved"] * 2 + ["firing"]
    watched.later(4_000)
    assert watched.states[-1] == "resolved"
    watched.later(4_000)
    watched.see(10)
    assert watched.engine.all()[0].flaps == 0


def test_each_source_has_its_own() -> None:
    watched = Watched(**LOW)
    watched.see(10, source="soil-1")
    watched.see(10, 10, source="soil-2")
    assert watched.said == [("soil-1", "firing"), ("soil-2", "firing")]
    assert len({alert.id for alert in watched.engine.all()}) == 2


def test_what_cannot_be_told_changes_nothing() -> None:
    watched = Watched(health="bridge/*", level="CRITICAL", clear_for="0s")
    watched.see("FAILED", None, "UNKNOWN", None, source="bridge/home")
    assert watched.states == ["firing"]
    watched.see("GOOD", source="bridge/home")
    assert watched.states == ["firing", "resolved"]


def test_what_is_gone_is_over() -> None:
    watched = Watched(health="bridge/*", level="CRITICAL", clear_for="0s")
    watched.see("FAILED", source="bridge/home")
    watched.engine.gone(watched.rule, {"bridge/home"})
    assert watched.states == ["firing"]
    watched.engine.gone(watched.rule, set())
    assert watched.states == ["firing", "resolved"]


def test_an_alert_on_what_its_rule_does_not_look_at_any_more_is_over_after_a_restart() -> None:
    watched = Watched(**LOW)
    for number, source in enumerate(("soil-1", "pump-1", "bridge/home"), 1):
        state = State.FIRING
        watched.engine.load([Alert(number, "r", source, state=state, count=1, value=10.0)])
    assert watched.said == [("pump-1", "resolved"), ("bridge/home", "resolved")]
    assert [alert.source for alert in watched.engine.active()] == ["soil-1"]


def test_an_alert_of_a_rule_that_is_no_more_is_over_after_a_restart() -> None:
    watched = Watched(**LOW)
    watched.engine.load([Alert(5, "old", "soil-1", state=State.FIRING, count=1)])
    assert watched.said == [("soil-1", "resolved")]
    watched.see(10)
    assert watched.engine.get(6).source == "soil-4"


def test_coming_back_undoes_an_acknowledgement() -> None:
    watched = Watched(**LOW, clear_for="0s")
    watched.see(10)
    alert = watched.engine.all()[0]
    watched.engine.acknowledge(alert, "ann")
    assert alert.shown(False) is State.ACKNOWLEDGED
    assert alert.shown(True) is State.SILENCED
    watched.see(30, 10, 30, 10)
    assert (alert.acknowledged, alert.count) == (0, 3)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "soil-4: battery is 10, below 20"),
        ("{device}/{metric}={value} ({limit}) {site}", "soil-4/battery=10 (20) north"),
        ("{{device}} {severity} {rule}", "{device} warning r"),
    ],
)
def test_message(template: str | None, said: str) -> None:
    watched = Watched(**LOW, message=template, labels={"site": "north"})
    watched.see(10)
    assert watched.engine.all()[0].message == said


@pytest.mark.parametrize("template", ["{device.__class__}", "{0}", "{value!r}", "{x", "{value:9}"])
def test_a_message_reaches_nothing_but_names(template: str) -> None:
    with pytest.raises(ValueError, match=r"brace|known"):
        RuleSettings.model_validate({"name": "r", **LOW, "message": template})


def test_a_value_is_not_filled_in_again() -> None:
    watched = Watched(device="a", metric="m", equals="{rule}", message="{value}")
    watched.see("{rule}", source="a")
    assert watched.engine.all()[0].message == "{rule}"
