"""The section `alerts`: what is refused, and that addresses of channels show nowhere."""

import pytest

from gateway.alerts.defaults import rules_of
from gateway.config import InvalidConfig, loads
from gateway.config.problems import Problem
from gateway.core.secrecy import concealed


def problems(text: str) -> list[Problem]:
    with pytest.raises(InvalidConfig) as raised:
        loads(text)
    return raised.value.problems


@pytest.mark.parametrize(
    ("rule", "message", "fix"),
    [
        ("device: a, above: 1", "which metric of it is not said", "add metric:"),
        ("above: 1", "one of device, health, presence and figure", "keep one"),
        ("device: a, metric: m", "something to compare with", "add above:, below:"),
        ("device: a, figure: lag, above: 1", "one of device, health", "keep one"),
        ("figure: lag, level: GOOD", "level does not go with figure", "leave out level"),
        ("figure: lgg, above: 1", '"lgg" is not one of the choices', "figure: lag"),
        ("device: a, metric: m, below: 5, clear: 4", "clear is not above below", "clear: 5"),
        ("device: a, metric: m, above: 5, clear: 6", "clear is not below above", "clear: 5"),
        ("device: a, metric: m, above: 5, equals: 6", "together", "a rule of its own"),
        ("device: a, metric: m, equals: 6, change: 1m", "compared with above or", "add above:"),
        ("device: a, metric: m, above: 1, message: '{vale}'", "expected {value}", "double"),
        ("device: a, metric: m, above: 1, message: '{'", "a brace stands alone", "double"),
        ("device: a, metric: m, above: 1, severty: info", 'unknown key "severty"', "severity:"),
        ("device: a, metric: m, above: 1, for: 5", "duration without a unit", "for: 5s"),
    ],
)
def test_a_rule_that_cannot_be(rule: str, message: str, fix: str) -> None:
    (problem,) = problems(f"alerts:\n  rules:\n    - {{name: x, {rule}}}\n")
    assert message in problem.message
    assert fix in problem.fix
    assert problem.line == 3


def test_a_channel_that_is_not_there_has_its_place_and_the_nearest_one() -> None:
    first, second = problems(
        """
alerts:
  channels:
    - {name: phone, url: "ntfys://ntfy.sh/topic"}
  routes:
    - channels: [phone, phoen]
      escalate: [{channels: nobody}]
"""
    )
    assert (first.message, first.fix) == ('no channel "phoen"', "phone")
    assert (first.line, first.column) == (6, 25)
    assert (second.message, second.fix) == ('no channel "nobody"', "add it to alerts.channels")
    assert second.line == 7


def test_a_rule_on_a_bridge_that_is_not_there_would_be_silent_for_ever() -> None:
    bridge = "bridges: [{type: influxdb, name: home, url: 'http://a', bucket: b}]\n"
    rules = """alerts:
  rules:
    - {name: a, figure: lag, of: "bridge/hmoe", above: 1}
    - {name: b, health: [bridge/home, bridge/cloud], level: CRITICAL}
    - {name: c, figure: lag, of: ["bridge/home", "bridge/x*", "stage/machine"], above: 1}
"""
    first, second = problems(bridge + rules)
    assert (first.message, first.fix) == ('no bridge "hmoe"', "of: bridge/home")
    assert (second.message, second.fix) == ('no bridge "cloud"', "health: bridge/*")
    assert (first.line, second.line) == (4, 5)


def test_names_are_taken_once() -> None:
    rule = "{name: x, device: a, metric: m, above: 1}"
    (problem,) = problems(f"alerts:\n  rules:\n    - {rule}\n    - {rule}\n")
    assert (problem.message, problem.line) == ('"x" is taken', 4)


@pytest.mark.parametrize(
    ("url", "message", "fix"),
    [
        ("nfty://ntfy.sh/S3cretTopic", 'no service "nfty"', "ntfy://"),
        ("S3cretTopic", "not an address", "such as"),
        ("slack://S3cretTopic", "needs more than that", "slack://") ,
        ("gnome://S3cretTopic", "on this machine only", "reaches somebody"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be(url: str, message: str, fix: str) -> None:
    (problem,) = problems(f"alerts:\n  channels:\n    - {{name: a, url: '{url}'}}\n")
    assert message in problem.message
    assert problem.fix == "" or fix.partition(":")[0] in problem.fix or fix in problem.fix
    assert "S3cret" not in problem.message + problem.fix + problem.hint
    if "://" in url:
        assert "S3cret" not in problem.source


def test_an_address_is_concealed_whole_and_in_pieces() -> None:
    loads(
        "alerts: {channels: [{name: a, url: "
        "'slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ'}]}"
    )
    assert "TIiajk" not in concealed("https://hooks.slack.com/x/TIiajkdnlazkcOXrIdevi7FQ")
    assert concealed("the host slack.com") == "the host slack.com"


@pytest.mark.parametrize(
    "window",
    [
        'start: "25:00", end: "07:00"',
        'start: "22:00", end: 2026-12-01T08:00',
        "start: 2026-12-01T08:00, end: 2026-12-01T07:00",
        "start: 2026-12-01T08:00, end: 2026-12-02T07:00, days: mon",
        'start: "22:00", end: "07:00", timezone: Europe/Berlim',
        'start: "22:00", end: "07:00", days: monday',
    ],
)
def test_a_window_that_cannot_be(window: str) -> None:
    assert len(problems(f"alerts: {{quiet: [{{{window}}}]}}")) == 1


def test_rules_take_the_place_of_defaults() -> None:
    def names(text: str) -> list[str]:
        return [rule.name for rule in rules_of(loads(text).alerts)]

    assert len(names("")) == 10
    assert names("alerts: {defaults: false}") == []
    assert "disk-filling" not in names("alerts: {rules: [{name: disk-filling, enabled: false}]}")
    own = "alerts: {rules: [{name: disk-filling, figure: disk, above: 50}]}"
    assert names(own).count("disk-filling") == 1
    assert len(names(own)) == 10
