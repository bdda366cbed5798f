"""Who is told of what, and when."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.alerts import silences as silences_module
from gateway.alerts.alert import Alert, State
from gateway.alerts.routing import Router
from gateway.alerts.silences import Silence, Silences
from gateway.alerts.windows import Window
from gateway.alerts.wording import Notification
from gateway.config.alerting import AlertsSettings, WindowSettings

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 3, 12, tzinfo=BERLIN).timestamp()


class Telling:
    """A router with a clock of its own, and what it decided."""

    def __init__(self, now: float = NOON, **settings: Any) -> None:
        self.seconds = now
        self._settings = settings
        self.set_by = 0.0  # by how much the clock on the wall was set
        channels = [{"name": name, "url": "json://example.com"} for name in ("phone", "mail")]
        whole = AlertsSettings.model_validate({"channels": channels, **settings})
        self.silences = Silences(whole.maintenance)
        self.noted: list[Alert] = []
        self.router = Router(
            whole, "gw", self.silences, {"slow": 10.0}, self.noted.append, lambda: self.seconds,
            lambda: int((self.seconds + self.set_by) * 1e9),
        )  # fmt: skip
        self.alerts: list[Alert] = []

    def restarted(self) -> "Telling":
        """What is stored, in another run."""
        found = Telling(self.seconds, **self._settings)
        found.alerts = self.alerts
        for alert in self.alerts:
            alert.heard = {channel: when / 1e9 for channel, when in alert.told.items()}
            found.router.note(alert)
        return found

    def fire(self, source: str = "soil-4", rule: str = "low", **more: Any) -> Alert:
        """An alert begins."""
        alert = Alert(len(self.alerts) + 1, rule, source, **more)
        alert.state, alert.since = State.FIRING, int(self.seconds * 1e9)
        alert.lit = self.seconds
        alert.message = f"{source} is low"
        self.alerts.append(alert)
        self.router.note(alert)
        return alert

    def end(self, alert: Alert) -> None:
        """One is over."""
        alert.state, alert.ended = State.RESOLVED, int(self.seconds * 1e9)
        self.router.note(alert)

    def later(self, seconds: float) -> list[Notification]:
        """What is told in the meantime."""
        found, until = [], self.seconds + seconds
        step = max(seconds / 200, 0.5)
        while self.seconds < until:
            self.seconds += step
            found += self.router.decide([alert for alert in self.alerts if alert.active])
        return found


TO_PHONE = {"routes": [{"channels": "phone"}]}


def test_without_routes_everybody_is_told_of_what_matters() -> None:
    telling = Telling()
    telling.fire()
    telling.fire(severity="info", rule="other")
    assert [(each.channel, each.alerts) for each in telling.later(5)] == [("phone", 1), ("mail", 1)]


def test_within_five_seconds() -> None:
    telling = Telling(**TO_PHONE)
    telling.fire()
    (told,) = telling.later(3)
    assert told.title == "gw: warning low soil-4"
    assert "soil-4 is low" in told.body


def test_a_thousand_at_once_are_one_message() -> None:
    telling = Telling(**TO_PHONE)
    for number in range(1_000):
        telling.fire(f"d{number}")
        telling.seconds += 0.001
    (told,) = telling.later(20)
    assert told.alerts == 1_000
    assert "1,000 alerts" in told.title
    assert "and 985 more" in told.body
    assert len(told.body) < 3_001


def test_a_group_waits_while_it_grows_but_not_for_ever() -> None:
    telling = Telling(**TO_PHONE)
    told = []
    for number in range(20):
        telling.fire(f"d{number}")
        told += telling.later(1)
    assert [each.alerts for each in told][:2] == [4, 4] or told[0].alerts in (3, 4, 5)
    assert sum(each.alerts for each in told + telling.later(10)) == 20


def test_a_rule_of_its_own_waits_longer() -> None:
    telling = Telling(**TO_PHONE)
    telling.fire(rule="slow")
    assert telling.later(9) == []
    assert len(telling.later(2)) == 1


def test_routes_by_severity_rule_source_and_label() -> None:
    telling = Telling(
        routes=[
            {"channels": "phone", "severity": "critical"},
            {"channels": "mail", "labels": {"room": "green*"}, "sources": ["soil-*", "!soil-9"]},
        ]
    )
    telling.fire("pump", severity="critical")
    telling.fire("soil-1", labels={"room": "greenhouse"})
    telling.fire("soil-9", labels={"room": "greenhouse"})
    telling.fire("soil-2", labels={"room": "cellar"})
    told = [(each.channel, each.alerts) for each in telling.later(5)]
    assert told == [("phone", 1), ("mail", 1)]


def test_two_routes_to_one_channel_tell_it_once() -> None:
    telling = Telling(routes=[{"channels": "phone"}, {"channels": ["phone"], "rules": "l*"}])
    alert = telling.fire()
    assert len(telling.later(5)) == 1
    telling.end(alert)
    assert [each.kind for each in telling.later(5)] == ["resolved"]


def test_the_end_is_told_to_those_who_were_told() -> None:
    telling = Telling(**TO_PHONE)
    alert = telling.fire()
    telling.end(alert)
    assert telling.later(5) == []  # it came and went
    alert = telling.fire("other")
    telling.later(5)
    assert list(alert.told) == ["phone"]
    telling.end(alert)
    (told,) = telling.later(5)
    assert (told.kind, alert.told) == ("resolved", {})
    assert alert in telling.noted


def test_acknowledged_is_not_told() -> None:
    telling = Telling(routes=[{"channels": "phone", "repeat": "1h"}])
    alert = telling.fire()
    alert.acknowledged = 1
    assert telling.later(7_200) == []


def test_repeat() -> None:
    telling = Telling(routes=[{"channels": "phone", "repeat": "1h"}])
    telling.fire()
    kinds = [each.kind for each in telling.later(3 * 3_600)]
    assert kinds[0] == "firing"
    assert set(kinds[1:]) == {"still"}
    assert len(kinds) == 3


def test_escalation_when_nobody_acknowledges() -> None:
    route = {"channels": "phone", "escalate": [{"after": "10m", "channels": ["mail"]}]}
    telling = Telling(routes=[route])
    alert, seen = telling.fire(rule="a"), telling.fire(rule="b")
    telling.later(300)
    seen.acknowledged = 1
    told = telling.later(400)
    assert [(each.channel, each.kind, each.alerts) for each in told] == [("mail", "firing", 1)]
    assert alert.steps == {"route-1": 1}
    assert telling.later(1_000) == []
    telling.end(alert)
    assert sorted(each.channel for each in telling.later(5)) == ["mail", "phone"]


def test_escalation_of_what_was_told_on_mqtt_alone() -> None:
    telling = Telling(
        routes=[{"channels": "mqtt", "escalate": [{"after": "10m", "channels": ["phone"]}]}]
    )
    telling.fire()
    telling.fire(rule="seen").acknowledged = 1
    assert telling.later(590) == []
    assert [(each.channel, each.alerts) for each in telling.later(30)] == [("phone", 1)]
    assert telling.later(3_600) == []


def test_a_restart_forgets_no_escalation_that_waits() -> None:
    """Its step is stored as taken; that it was told is not."""
    route = {"channels": "phone", "escalate": [{"after": "10m", "channels": ["mail"]}]}
    quiet = [{"start": "11:00", "end": "14:00", "timezone": "Europe/Berlin", "channels": "mail"}]
    telling = Telling(routes=[route], quiet=quiet)
    alert, seen = telling.fire(rule="a"), telling.fire(rule="b")
    assert [each.channel for each in telling.later(1_200)] == ["phone", "phone"]
    assert alert.steps == {"route-1": 1}
    seen.acknowledged = 1
    again = telling.restarted()
    told = again.later(7_200)
    assert [(each.channel, each.kind, each.alerts) for each in told] == [("mail", "firing", 1)]
    assert again.restarted().later(3_600) == []


@pytest.mark.parametrize("by", [90 * 86_400.0, -90 * 86_400.0], ids=["forward", "back"])
def test_a_clock_that_is_set_is_no_time_that_has_passed(by: float) -> None:
    route = {
        "channels": "phone", "repeat": "1h", "escalate": [{"after": "10m", "channels": ["mail"]}]
    }  # fmt: skip
    telling = Telling(routes=[route])
    telling.fire()
    assert [each.channel for each in telling.later(60)] == ["phone"]
    telling.set_by = by
    assert telling.later(480) == []
    assert [each.channel for each in telling.later(120)] == ["mail"]
    assert [each.kind for each in telling.later(3_600)] == ["still"]


def test_quiet_hours_go_by_the_clock_on_the_wall_when_it_is_set() -> None:
    quiet = [{"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}]
    telling = Telling(quiet=quiet, **TO_PHONE)
    telling.set_by = 14 * 3_600.0  # it thinks that it is two in the morning
    telling.fire()
    assert telling.later(60) == []
    telling.set_by = 0.0  # noon
    assert [each.alerts for each in telling.later(10)] == [1]
    telling.set_by = -2 * 86_400.0  # noon, two days ago
    telling.fire("other")
    assert [each.alerts for each in telling.later(10)] == [1]


def test_quiet_hours_across_midnight() -> None:
    quiet = [{"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}]
    evening = datetime(2026, 6, 3, 21, 59, 50, tzinfo=BERLIN).timestamp()
    telling = Telling(evening, quiet=quiet, **TO_PHONE)
    telling.fire("before")
    assert len(telling.later(5)) == 1
    telling.later(60)
    lasts, over = telling.fire("lasts"), telling.fire("over")
    telling.fire("urgent", severity="critical")
    (told,) = telling.later(60)
    assert told.severity == "critical"
    telling.end(over)
    telling.seconds = datetime(2026, 6, 4, 6, 59, tzinfo=BERLIN).timestamp()
    assert telling.later(50) == []
    (told,) = telling.later(30)
    assert (told.alerts, "lasts is low" in told.body) == (1, True)
    assert lasts.told


@pytest.mark.parametrize(
    ("day", "hours"),
    [((2026, 3, 28), 8), ((2026, 10, 24), 10), ((2026, 6, 3), 9)],
    ids=["clocks go forward", "clocks go back", "any night"],
)
def test_a_night_in_which_clocks_change(day: tuple[int, int, int], hours: int) -> None:
    window = Window(WindowSettings(start="22:00", end="07:00", timezone="Europe/Berlin"))
    begin = datetime(*day, 22, tzinfo=BERLIN).timestamp()
    assert window.until(begin - 1) is None
    end = window.until(begin)
    assert end is not None
    assert end - begin == hours * 3_600
    assert datetime.fromtimestamp(end, BERLIN).hour == 7
    assert all(window.until(begin + minute * 60) == end for minute in range(hours * 60))
    assert window.until(end) is None


def test_days_are_those_on_which_it_begins() -> None:
    window = Window(
        WindowSettings(start="22:00", end="07:00", days=("fri",), timezone="Europe/Berlin")
    )
    saturday = datetime(2026, 6, 6, 3, tzinfo=BERLIN).timestamp()
    assert window.until(saturday) is not None
    assert window.until(saturday + 86_400) is None
    assert window.until(saturday - 86_400) is None


def test_once() -> None:
    window = Window(WindowSettings(start="2026-06-03T10:00+00:00", end="2026-06-03T11:00+00:00"))
    assert window.until(NOON) == NOON + 3_600
    assert window.until(NOON + 3_600) is None


def test_a_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    telling = Telling(**TO_PHONE)
    monkeypatch.setattr(silences_module.time, "time_ns", lambda: int(telling.seconds * 1e9))
    now = int(NOON * 1e9)
    telling.silences.add(Silence(1, "l*", "soil-*", now, now + 600 * 10**9))
    alert = telling.fire("soil-4")
    other = telling.fire("pump")
    assert telling.silences.until(alert) == NOON + 600
    assert telling.silences.until(other) is None
    assert [each.title for each in telling.later(590)] == ["gw: warning low pump"]
    assert [each.title for each in telling.later(30)] == ["gw: warning low soil-4"]
    assert [silence.id for silence in telling.silences.ended()] == [1]


def test_maintenance_silences() -> None:
    windows = [
        {"start": "11:00", "end": "13:00", "timezone": "Europe/Berlin", "sources": "bridge/*"}
    ]
    telling = Telling(maintenance=windows, **TO_PHONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silences_module.time, "time_ns", lambda: int(telling.seconds * 1e9))
        telling.fire("bridge/home")
        telling.fire("soil-4")
        assert [each.alerts for each in telling.later(3_000)] == [1]
        assert [each.title for each in telling.later(700)] == ["gw: warning low bridge/home"]
