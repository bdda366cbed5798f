"""Text by regular expressions, those that run away among them."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.text import MAX_LINES, MAX_PAYLOAD, TextSettings
from gateway.config import InvalidConfig, loads
from gateway.core.errors import DecodeError

NOW = 1_763_680_000_000_000_000
WEIGHT = r"W:(?P<weight>[\d.]+)"


def decoded(payload: bytes, pattern: str, **options: Any) -> list[Any]:
    return list(TextSettings(pattern=pattern, **options).build().decode("d", payload, NOW))


@pytest.mark.parametrize(
    ("payload", "pattern", "options", "reports"),
    [
        # A & D scales: header, weight, unit.
        (b"ST,GS,+00012.50 kg\r\n", r"^ST,GS,(?P<weight>[-+]?[\d.]+)\s*(?P<unit>\w+)", {},
         [(None, {"weight": 12.5, "unit": "kg"})]),
        (b"W:12.5", WEIGHT, {}, [(None, {"weight": 12.5})]),
        # NMEA 0183, GGA.
        (b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
         r"GGA,(?:[^,]*,){6}(?P<satellites>\d+),(?P<hdop>[\d.]*),(?P<altitude>-?[\d.]+)", {},
         [(None, {"satellites": 8.0, "hdop": 0.9, "altitude": 545.4})]),
        (b"t=1700000000 v=3\n", r"t=(?P<time>\d+) v=(?P<v>\d+)", {},
         [(1_700_000_000 * 10**9, {"v": 3.0})]),
        (b"2023-11-14T22:13:20Z;4", r"(?P<ts>[^;]+);(?P<v>\d+)", {},
         [(1_700_000_000 * 10**9, {"v": 4.0})]),
        (b"a=1\r\n\r\na=2\n", r"a=(?P<a>\d+)", {"lines": True},
         [(None, {"a": 1.0}), (None, {"a": 2.0})]),
        (b"# boot\na=2\n", r"^#|a=(?P<a>\d+)", {"lines": True}, [(None, {"a": 2.0})]),
        (b"a=1\na=2\n", r"a=(?P<a>\d+)", {}, [(None, {"a": 1.0})]),
        (b"a=1,5", r"a=(?P<a>[\d,]+)", {"decimal": ","}, [(None, {"a": 1.5})]),
        (b"21\xb0C", r"(?P<t>\d+)(?P<unit>.C)", {"encoding": "latin-1"},
         [(None, {"t": 21.0, "unit": "°C"})]),
        (b"a=1", r"a=(?P<a>\d+)(?: b=(?P<b>\d+))?", {}, [(None, {"a": 1.0})]),
        (b"a=nan b=2", r"a=(?P<a>\S+) b=(?P<b>\d+)", {}, [(None, {"b": 2.0})]),
        (b"a=1_000", r"a=(?P<a>\S+)", {}, [(None, {"a": "1_000"})]),
    ],
)  # fmt: skip
def test_good(payload: bytes, pattern: str, options: dict[str, Any], reports: list[Any]) -> None:
    assert decoded(payload, pattern, **options) == reports


@pytest.mark.parametrize(
    ("payload", "options", "reason"),
    [
        (b"", {}, "no_match"), (b"no weight", {}, "no_match"), (b"W:1\nno\n", {"lines": True},
        "no_match"), (b"\xff", {}, "malformed"), (b"\n\n", {"lines": True}, "empty"),
        (b" " * (MAX_PAYLOAD + 1), {}, "too_long"), (b"W:" + b"9" * 400, {}, "malformed"),
        (b"W:1\n" * (MAX_LINES + 1), {"lines": True}, "too_many"),
    ],
)  # fmt: skip
def test_bad(payload: bytes, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoded(payload, WEIGHT, **options)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("pattern", "payload"),
    [(r"(?P<a>(x+x+)+)y", b"x" * 4_000), (r"^(?P<a>(\w+\s?)*)$", b"a" * 4_000 + b"!"),
     (r"(?P<a>^(?:.*?,){11}P)", b"1," * 8_000), (r"(?P<a>(a|a?)+)b", b"a" * 4_000)],
)  # fmt: skip
def test_a_pattern_that_runs_away_is_stopped(pattern: str, payload: bytes) -> None:
    codec = TextSettings(pattern=pattern).build()
    spent = []
    for _ in range(3):
        began = time.thread_time()
        with pytest.raises(DecodeError, match="pattern") as refused:
            codec.decode("d", payload, NOW)
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.05
    assert refused.value.reason in ("too_slow", "no_match")


def test_many_lines_share_one_limit() -> None:
    codec = TextSettings(pattern=r"(?P<a>(x+x+)+)y|", lines=True).build()
    began = time.thread_time()
    with pytest.raises(DecodeError) as refused:
        codec.decode("d", (b"x" * 400 + b"\n") * 40, NOW)
    assert refused.value.reason == "too_slow"
    assert time.thread_time() - began < 0.1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_comes_back(number: float) -> None:
    assert decoded(f"W:{number!r}".encode(), r"W:(?P<w>\S+)") == [(None, {"w": number})]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("pattern: 'W:(?P<w>['", "not a regular expression: .*character set"),
        (r"pattern: 'W:([\d.]+)'", "no named group"),
        (r"pattern: '(?P<time>\d+)'", "no named group"),
        ("pattern: ''", "at least 1 character"), ("lines: true", "pattern"),
        ("pattern: '(?P<a>b)', decimal: ';'", "decimal"),
        ("pattern: '(?P<a>b)', patern: x", 'unknown key "patern"'),
    ],
)  # fmt: skip
def test_bad_options_are_told(options: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=f"(?i){message}") as error:
        loads(f"devices:\n- type: mqtt\n  codec: {{type: text, {options}}}\n")
    assert [problem.line for problem in error.value.problems] == [3]
