"""Line protocol as a payload, as Telegraf sends it."""

from typing import Any

import pytest

from gateway.codecs.line import LineSettings
from gateway.config import InvalidConfig, loads
from gateway.core.contracts import Addressed
from gateway.core.errors import DecodeError

NOW = 1_763_680_000_000_000_000
TIME = 1_700_000_000_000_000_000
TELEGRAF = (
    b"cpu,cpu=cpu0,host=pi usage_idle=98.5,usage_user=1i 1700000000000000000\n"
    b"cpu,cpu=cpu1,host=pi usage_idle=97 1700000000000000000\n"
    b'system,host=pi uptime_format="1 day" 1700000000000000000\n'
)


def decoded(payload: bytes, **options: Any) -> list[Any]:
    return list(LineSettings(**options).build().decode("d", payload, NOW))


def test_no_two_series_become_one_by_default() -> None:
    assert decoded(TELEGRAF) == [
        (TIME, {"cpu.cpu0.pi.usage_idle": 98.5, "cpu.cpu0.pi.usage_user": 1}),
        (TIME, {"cpu.cpu1.pi.usage_idle": 97.0}),
        (TIME, {"system.pi.uptime_format": "1 day"}),
    ]


@pytest.mark.parametrize(
    ("payload", "options", "reports"),
    [
        (b"a b=1", {}, [(None, {"a.b": 1.0})]),
        (b"a,x=1,w=2 b=1", {"metric": "{tags}/{field}"}, [(None, {"2.1/b": 1.0})]),
        (b"a,x=1 b=1\na b=2", {"metric": "{measurement}.{x}.{field}"},
         [(None, {"a.1.b": 1.0}), (None, {"a.b": 2.0})]),
        (b"a b=t 1700000000", {"metric": "{field}", "precision": "s"}, [(TIME, {"b": True})]),
        (b"a b=1 1700000000000", {"metric": "x.{field}", "precision": "ms"},
         [(TIME, {"x.b": 1.0})]),
        (b"# comment\n\na b=1\r\n", {}, [(None, {"a.b": 1.0})]),
        (b'a b="two\nlines"', {}, [(None, {"a.b": "two\nlines"})]),
    ],
)  # fmt: skip
def test_good(payload: bytes, options: dict[str, Any], reports: list[Any]) -> None:
    assert decoded(payload, **options) == reports


def test_devices_by_tag() -> None:
    codec = LineSettings(metric="{measurement}.{field}", device="{host}").build()
    assert isinstance(codec, Addressed)
    payload = b"cpu,host=a idle=1\ncpu,host=b idle=2"
    assert list(codec.addressed("telegraf", "d", payload, NOW)) == [
        ("a", None, {"cpu.idle": 1.0}), ("b", None, {"cpu.idle": 2.0}),
    ]  # fmt: skip
    with pytest.raises(DecodeError) as refused:
        codec.addressed("telegraf", "d", b"cpu,hos=a idle=1", NOW)
    assert refused.value.reason == "device"
    plain = LineSettings().build()
    assert [name for name, _, _ in plain.addressed("telegraf", "d", payload, NOW)] == ["", ""]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"), (b"# nothing\n", "empty"), (b"a", "malformed"), (b"a b=1\nc d=x", "number"),
        (b"a b=1 soon", "time"), (b'a b="x', "text"), (b"a b\x07=1", "metric"),
        (b"a b=1\n" * 5_001, "too_many"), (b"\n" * 10_001, "too_many"),
        (b"a b=1,c=2,d=3,e=4,f=5\n" * 4_001, "too_many"), (b"a" * 200 + b" b=1", "metric"),
        (b'a b="' + (b" " * 60 + b'",c="\n') * 999, "text"), (b"\xff", "malformed"),
    ],
)  # fmt: skip
def test_bad(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoded(payload)
    assert refused.value.reason == reason


def test_names_without_end_cost_bounded_memory() -> None:
    codec = LineSettings().build()
    for number in range(40_000):
        codec.decode("d", b"m%d,t=%d f%d=1" % (number, number, number), NOW)
    assert len(codec._names) <= 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("metric: '{measurement}'", "all fields of a line would have one name"),
        ("metric: '{field'", "a brace that does not go with a name"),
        ("metric: '{}{field}'", "a brace that does not go with a name"),
        ("device: '{field}'", "told from a measurement or its tags"),
        ("device: pi", "told from a measurement or its tags"), ("precision: m", "precision"),
    ],
)  # fmt: skip
def test_bad_options_are_told(options: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as error:
        loads(f"devices:\n- type: mqtt\n  codec: {{type: line, {options}}}\n")
    assert [problem.line for problem in error.value.problems] == [3]
