"""The pages of the stages keep up with the program: every knob with its default, every state in a
picture, every rule and figure of alerts."""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from gateway.alerts.alert import State
from gateway.alerts.defaults import defaults
from gateway.config.alerting import SEVERITIES, Figure
from gateway.config.health import HealthSettings, LimitsOfHealth
from gateway.core.profiling_settings import ProfilingSettings
from gateway.core.settings import PoolSettings, RetrySettings, Settings
from gateway.stages.breaker import BreakerState
from gateway.stages.endpoints import EndpointState
from gateway.stages.health import Level

DOCS = Path(__file__).parents[2] / "docs"
PRESENCE = ("online", "stale", "offline")  # the contract's
BRIDGE = ("running", "failing", "denied", "stopped", "paused", "failed over")  # Delivery.state


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(name: str, title: str) -> str:
    """What stands below a heading."""
    return page(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table in it."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def shown(text: str) -> Any:
    """A default as a page has it."""
    return yaml.safe_load(text.strip("`"))


@pytest.mark.parametrize(
    ("name", "title", "prefix", "model"),
    [
        ("stages/pool.md", "The knobs", "", PoolSettings),
        ("stages/profiling.md", "Knobs", "profiling.", ProfilingSettings),
    ],
)
def test_each_knob_of_a_table(name: str, title: str, prefix: str, model: type[Settings]) -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section(name, title))}
    assert list(table) == [f"{prefix}{key}" for key in model.model_fields]
    given = {
        key.removeprefix(prefix): shown(value) for key, value in table.items() if value != "none"
    }
    assert model.model_validate(given) == model()


def test_each_knob_of_error_recovery() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", section("stages/retry.md", "Every knob"), re.DOTALL)
    retry = yaml.safe_load(block)["bridges"][0]["retry"]
    without = {"failover"}  # there is no default to show
    assert all(f"# {key}:" in block for key in without)
    assert set(retry) | without == set(RetrySettings.model_fields)
    assert set(retry["breaker"]) == set(type(RetrySettings().breaker).model_fields)
    assert RetrySettings.model_validate(retry) == RetrySettings()


def test_each_knob_of_health() -> None:
    text = page("stages/health.md")
    (block,) = re.findall(r"```yaml\n(health:\n.*?)```", text, re.DOTALL)
    health = yaml.safe_load(block)["health"]
    assert set(health) == set(HealthSettings.model_fields)
    for key in ("level", "silence", "history"):  # with their defaults; the others are examples
        assert set(health[key]) == set(type(getattr(HealthSettings(), key)).model_fields)
    plain = {key: health[key] for key in ("level", "silence", "history", "trend")}
    assert HealthSettings.model_validate(plain) == HealthSettings()
    assert [name for name in LimitsOfHealth.model_fields if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("stages/pool.md", EndpointState),
        ("stages/retry.md", BreakerState),
        ("stages/retry.md", BRIDGE),
        ("stages/health.md", set(Level) - {Level.UNKNOWN}),  # which no score leads to
        ("stages/health.md", PRESENCE),
        ("howto/alerts.md", State),
    ],
    ids=["endpoint", "breaker", "bridge", "level", "presence", "alert"],
)
def test_each_state_is_in_a_picture(name: str, states: Iterable[StrEnum | str]) -> None:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page(name), re.DOTALL | re.MULTILINE)
    pictures = [block for language, block in fences if language in ("", "mermaid")]
    missing = [{str(each) for each in states if str(each) not in found} for found in pictures]
    assert set() in missing, min(missing, key=len)


def test_each_default_rule_and_each_figure_of_alerts() -> None:
    text = section("howto/alerts.md", "Rules")
    told = {row[0].strip("`"): row[2] for row in rows(text) if row[-1] in SEVERITIES}
    assert told == {rule.name: rule.severity for rule in defaults()}
    named = {
        name
        for row in rows(text)
        if len(row) == 3
        for name in re.findall(r"`(\w+)`", row[0])
        if name in get_args(Figure)
    }
    assert named == set(get_args(Figure))
