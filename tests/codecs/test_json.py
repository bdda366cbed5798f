"""JSON payloads, against a plain reading of the same rules."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.json import JsonCodec, JsonSettings
from gateway.codecs.reports import LATEST, MAX_NAMES
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
        ('{"a": 1, "a": 2}', [(None, {"a": 2.0})]),
        ('{"a.b": 1, "a": {"b": 2}}', [(None, {"a.b": 2.0})]),
        ("[1, [2, 3]]", [(None, {"value": 1.0}), (None, {"value.0": 2.0, "value.1": 3.0})]),
        ('{"a": {"time": 5}}', [(None, {"a.time": 5.0})]),
        ('{"a": 1, "time": null}', [(None, {"a": 1.0})]),
        ('{"a": 1, "time": null, "ts": 1700000000}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 1, "ts": 3, "time": 1700000000}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 1, "time": 0}', [(0, {"a": 1.0})]),
        ('{"a": 1, "ts": 1700000000.1}', [(1_700_000_000_100_000_000, {"a": 1.0})]),
        ('{"a": 1, "ts": 1700000000123.456}', [(1_700_000_000_123_456_000, {"a": 1.0})]),
        ('{"a": 1, "time": "2023-11-14t22:13:20z"}', [(1_700_000_000 * 10**9, {"a": 1.0})]),
        ('{"a": 1, "time": "2023-11-14T22:13:20.123456789Z"}',
         [(1_700_000_000_123_456_789, {"a": 1.0})]),
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
        ('{"a": 1, "time": 1e30}', "time"), ('{"a": 1, "time": [1]}', "time"),
        ('{"a": 1, "time": 50000000000}', "time"), ('{"a": 1, "time": 5e10}', "time"),
        ('{"a": 1, "time": 9223372036854775808}', "time"),
        ('{"a": 1, "time": "9999-12-31T23:59:59Z"}', "time"),
        ('{"a": 1, "time": "1700000000"}', "time"), ('{"a": 1, "time": ""}', "time"),
        ("[" * 5_000, "too_deep"), ('\ufeff{"a": 1}', "malformed"), ('{"a": 1} x', "malformed"),
        ('{"a": "\\ud800"}', "malformed"), (b'{"a": "\xed\xa0\x80"}', "malformed"),
        ('{"a": 1' + "0" * 400 + "}", "malformed"), ('{"a": {"": 1}}', "metric"),
        ('{"": {"a": 1}}', "metric"), ('[{"a": 1}, {}]', "empty"),
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


times = st.none() | st.integers(0, 2**64) | st.floats(0, 1e21) | st.datetimes().map(str)


@given(
    st.dictionaries(keys, scalars, max_size=4),
    st.dictionaries(st.sampled_from(("time", "ts", "timestamp")), times, max_size=2),
    st.sampled_from((0, 2_000)),
)
def test_the_short_way_and_the_long_way_lead_to_the_same(
    data: dict[str, Any], time: dict[str, Any], padding: int
) -> None:
    def outcome(payload: str) -> Any:
        try:
            return [(time, list(values.items())) for time, values in decoded(payload)]
        except DecodeError as error:
            return error.reason

    payload = json.dumps(time | data) + " " * padding
    assert outcome(payload) == outcome(f"[{payload}]")  # a list always goes the long way


def test_a_name_once_found_good_excuses_nothing_else() -> None:
    codec = JsonSettings().build()
    [(_, values)] = codec.decode("device", b'{"a": 1, "b": "on"}', NOW)
    assert values == {"a": 1.0, "b": "on"}
    for payload in ('{"a": 1, "\\u0007": 1}', json.dumps({"a": 1, "b": "x" * 2_000})):
        with pytest.raises(DecodeError):
            codec.decode("device", payload.encode(), NOW)


def test_names_without_end_cost_bounded_memory() -> None:
    codec = JsonSettings().build()
    for number in range(3 * MAX_NAMES):
        codec.decode("device", b'{"n%d": 1}' % number, NOW)
        assert len(codec.names) <= MAX_NAMES


@given(st.integers(0, 9 * 10**18), st.sampled_from((0, 3, 6, 9)))
def test_whole_times_are_exact_at_every_magnitude(nanoseconds: int, digits: int) -> None:
    number = nanoseconds // 10**digits
    scale = next(
        scale for limit, scale in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1))
        if number < limit
    )  # fmt: skip
    payload = json.dumps({"a": 1, "time": number})
    if number * scale >= LATEST:
        with pytest.raises(DecodeError) as refused:
            decoded(payload)
        assert refused.value.reason == "time"
    else:
        assert decoded(payload) == [(number * scale, {"a": 1.0})]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_iso_times_are_exact(moment: datetime, offset: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    [(time, _)] = decoded(json.dumps({"a": 1, "time": aware.isoformat()}))
    assert time == (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


@given(st.binary(max_size=60))
def test_nothing_but_a_decode_error_comes_of_anything(payload: bytes) -> None:
    reason = ""
    try:
        decoded(payload)
    except DecodeError as error:
        reason = error.reason
    assert reason in ("", "malformed", "empty", "time", "too_deep", "too_many", "metric")


@given(st.integers(10**17, 9 * 10**18), st.integers(0, 2))
def test_a_fraction_of_a_millisecond_is_exact(nanoseconds: int, zeros: int) -> None:
    whole, rest = divmod(nanoseconds, 10**6)
    text = f"{whole}.{rest:06d}" + "0" * zeros
    [(time, values)] = JsonCodec().decode("d", f'{{"n": 1.5, "ts": {text}}}'.encode(), 0)
    assert (time, values) == (nanoseconds, {"n": 1.5})
