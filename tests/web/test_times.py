from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.times import LATEST, parse_time

NOW = 1_795_212_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", NOW),
        ("-24h", NOW - 86400),
        ("-1.5h", NOW - 5400),
        ("-500ms", NOW - 0.5),
        ("-99999999d", 0),
        ("0001-01-01T00:00:00+23:00", 0),
        ("9999-12-31T23:59:59-23:00", LATEST / 1000),
        ("0", 0),
        (1_795_212_000_000, NOW),
        ("1795212000000", NOW),
        ("2026-11-20T22:00:00Z", NOW),
        ("2026-11-20T22:00:00", NOW),
        ("2026-11-20", NOW - 22 * 3600),
        ("2026-11-21T00:00:00+02:00", NOW),
        ("2026-11-21T00:00:00 02:00", NOW),
        ("2026-11-20 22:00:00.25+00:00", NOW + 0.25),
    ],
)
def test_times(text: object, seconds: float) -> None:
    assert parse_time(text, NOW) == round(seconds * 1000) * 1_000_000


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "-24", "24h", "-h", "--1h", "-1y", "1e3", "1.5", "2026-13-01", "٣", None,
     "99999999999999", str(LATEST + 1), "-1h\n-1h", True],
)  # fmt: skip
def test_not_times(text: object) -> None:
    with pytest.raises(ValueError, match=r"not a time|not epoch ms"):
        parse_time(text, NOW)


@given(st.text())
def test_whatever_comes_is_a_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_time(text, NOW) >= 0


@given(st.integers(0, LATEST))
def test_milliseconds_are_exact(ms: int) -> None:
    assert parse_time(str(ms)) == ms * 1_000_000
