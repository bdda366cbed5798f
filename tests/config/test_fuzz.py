"""Whatever is in the file, it is loaded or refused: nothing else is ever raised."""

import os
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config import InvalidConfig, loads, source
from gateway.core.settings import (
    duration_text,
    parse_duration,
    parse_size,
    size_text,
)

VOCABULARY = """gateway id root data_dir broker embedded port url password journal gather max_size
devices bridges type mqtt system influxdb topics codec json qos interval retry breaker batch start
true no 5s 1GB 0 017 1e3 1e999 -1 ~ now -7d ${A} ${B:-x} ${A ${file:x} mqtt://u:p@h *a &a !!b <<
{1} {9} # | >"""
WORDS = st.sampled_from(VOCABULARY.split())
SCALARS = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
PIECES = WORDS | st.sampled_from([*"{}[],:&*!|>'\"%@`#?-\t \n", ": ", "\n  ", "\n- ", "---\n"])
SECTIONS = ("gateway", "broker", "journal", "clock", "history", "api", "limits", "x")
TOP = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(SECTIONS, TREES)
    | {
        key: st.lists(
            TREES | st.dictionaries(WORDS, TREES).map(lambda d, kind=kind: d | {"type": kind}),
            max_size=3,
        )
        for key, kind in (("devices", "mqtt"), ("bridges", "influxdb"))
    },
)
LOADERS = [loader for loader in (getattr(yaml, "CSafeLoader", None), yaml.SafeLoader) if loader]
many = settings(
    max_examples=1500 if os.environ.get("CI") else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, autouse=True)
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml's where it is there, else PyYAML's own: both must do."""
    methods = {
        name: vars(source._Loader)[name]
        for name in ("_depth", "resolve", "descend_resolver", "ascend_resolver")
    }
    monkeypatch.setattr(source, "_Loader", type("_Loader", (request.param,), methods))


def check(error: InvalidConfig, lines: list[str]) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.message
        assert 0 <= problem.line <= max(len(lines), 1)
        if problem.line and lines:
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


def refused_or_loaded(text: str) -> None:
    try:
        config = loads(text, {"A": "5"})
    except InvalidConfig as error:
        check(error, text.splitlines())
    else:
        assert len(config.named_devices) == len(config.devices)
        assert len(config.named_bridges) == len(config.bridges)


@many
@given(st.text())
@example("\x00")
@example("\ud800")
@example("a: \x85b: [")
@example("? ")
@example("- " * 3000)
@example("[" * 100_000)
@example("a: 'b\n\n\n")
@example("a:\r\n\tb: 1\r")
@example("journal: {gather: 1e999}")
@example("api: {port: " + "9" * 5000 + "}")
def test_any_text(text: str) -> None:
    refused_or_loaded(text)


@many
@given(st.lists(PIECES, max_size=30).map("".join))
def test_pieces_of_yaml(text: str) -> None:
    refused_or_loaded(text)


@many
@given(TOP)
def test_any_tree(data: Any) -> None:
    refused_or_loaded(yaml.safe_dump(data, allow_unicode=True))


@given(st.floats(0, 3e9, allow_nan=False))
def test_durations_are_read_as_they_are_written(seconds: float) -> None:
    assert parse_duration(duration_text(seconds)) == pytest.approx(seconds, rel=1e-9, abs=1e-8)


@given(st.integers(0, 10**18))
def test_sizes_are_read_as_they_are_written(size: int) -> None:
    assert parse_size(size_text(size)) == pytest.approx(size, rel=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("d", 86400)]))
def test_durations(number: int, unit: tuple[str, float]) -> None:
    for text in (f"{number}{unit[0]}", f" {number} {unit[0]} ", f"{number}.0{unit[0]}"):
        assert parse_duration(text) == pytest.approx(number * unit[1])


@given(st.text() | st.floats() | st.integers() | st.booleans() | st.none() | st.binary())
def test_quantities_are_read_or_refused(value: Any) -> None:
    for parse in (parse_duration, parse_size):
        try:
            found = parse(value)
        except ValueError:
            continue
        assert 0 <= found < float("inf")
