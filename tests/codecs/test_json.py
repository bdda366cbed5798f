"""JSON payloads, against a plain reading of the same rules."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.json import JsonSettings
from gateway.core.errors import DecodeError

NOW = 1_763_680_000_000_000_000
decode = JsonSettings().build().decode


def decoded(payload: str | bytes) -> list[tuple[int | None, dict[str, Any]]]:
    raw = payload.encode() if isinstance(payload, str) else payload
    return list(decode("device", raw, NOW))


@pytest.mark.parametrize(
    ("payload", "reports"),
    [
        ('{"t": 21, "ok": true, "mode": "eco"}', [(None, {"t": 21.0, "ok": True, "mode": "eco"})]),
        ("21.5", [(None, {"value": 21.5})]),
        ('"on"', [(None, {"value": "on"})]),
        ("true", [(None, {"value": True})]),
        ('[{"a": 1}, {"a": 2}]', [(None, {"a": 1.0}), (None, {"a": 2.0})]),
        ('{"a": {"b": 1, "c": {"d": 2}}}', [(None, {"a.b": 1.0, "a.c.d": 2.0})]),
        ('{"a": [1, 2]}', [(None, {"a.0": 1.0, "a.1": 2.0})]),
        ('{"a": 1, "b": null}', [(None, {"a": 1.0})]),
        ('{"a": 1, "time": 1700000000}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 1, "ts": 1700000000123}', [(1_700_000_000_123 * 10**6, {"a": 1.0})]),
        ('{"a": 1, "ts": 1700000000123456}', [(1_700_000_000_123_456 * 1000, {"a": 1.0})]),
        ('{"a": 1, "ts": 1700000000123456789}', [(1_700_000_000_123_456_789, {"a": 1.0})]),
        ('{"a": 1, "ts": 1700000000.25}', [(1_700_000_000_250_000_000, {"a": 1.0})]),
        ('{"a": 1, "timestamp": "2023-11-14T22:13:20Z"}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 1, "time": "2023-11-14T22:13:20"}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 1, "time": "2023-11-14T23:13:20+01:00"}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 123456789012345678901234567890}', [(None, {"a": 1.2345678901234568e29})]),
    ],
)  # fmt: skip
def test_good(payload: str, reports: list[Any]) -> None:
    found = decoded(payload)
    assert found == reports
    kinds = [[type(v) for v in values.values()] for _, values in found]
    assert kinds == [[type(v) for v in values.values()] for _, values in reports]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "malformed"), ("{", "malformed"), (b"\xff", "malformed"), ('{"a": NaN}', "malformed"),
        ('{"a": 1e999}', "malformed"), ('{"a": Infinity}', "malformed"), ("{'a': 1}", "malformed"),
        ("{}", "empty"), ("[]", "empty"), ("null", "empty"), ('{"time": 1}', "empty"),
        ('{"a": null}', "empty"), ('{"a": 1, "time": "yesterday"}', "time"),
        ('{"a": 1, "time": -5}', "time"), ('{"a": 1, "time": true}', "time"),
        ('{"a": 1, "time": 1e30}', "time"), ("[" * 5_000, "too_deep"),
        ('{"a":' * 20 + "1" + "}" * 20, "too_deep"), ('{"": 1}', "metric"),
        ('{"a\\u0000b": 1}', "metric"), (json.dumps({"x" * 200: 1}), "metric"),
        (json.dumps({"a": "x" * 2_000}), "metric"),
        (json.dumps({str(n): n for n in range(2_000)}), "too_many"),
        (json.dumps([{"a": 1}] * 20_000), "too_many"),
    ],
)  # fmt: skip
def test_bad(payload: str | bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoded(payload)
    assert refused.value.reason == reason


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
)
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6).filter(
    lambda key: key not in ("time", "ts", "timestamp")
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def flat(name: str, data: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The rules, written plainly."""
    if isinstance(data, dict):
        for key, item in data.items():
            flat(f"{name}.{key}" if name else key, item, values)
    elif isinstance(data, list):
        for index, item in enumerate(data):
            flat(f"{name}.{index}", item, values)
    elif data is not None:
        is_plain = isinstance(data, bool | str)
        values[name] = data if is_plain else float(data)
    return values


@given(st.dictionaries(keys, trees, max_size=4))
def test_objects_flatten_as_the_rules_say(data: dict[str, Any]) -> None:
    expected = flat("", data, {})
    if not expected:
        with pytest.raises(DecodeError):
            decoded(json.dumps(data))
        return
    [(time, values)] = decoded(json.dumps(data))
    assert time is None
    assert values == expected
    assert all(type(v) in (float, bool, str) for v in values.values())
    assert all(math.isfinite(v) for v in values.values() if isinstance(v, float))


@given(st.binary(max_size=60))
def test_nothing_but_a_decode_error_comes_of_anything(payload: bytes) -> None:
    reason = ""
    try:
        decoded(payload)
    except DecodeError as error:
        reason = error.reason
    assert reason in ("", "malformed", "empty", "time", "too_deep", "too_many", "metric")
