"""CSV, as loggers write it."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.csv import CsvSettings
from gateway.codecs.reports import MAX_NODES, MAX_REPORTS
from gateway.config import InvalidConfig, loads
from gateway.core.errors import DecodeError

NOW = 1_763_680_000_000_000_000
FIRST = 1_700_000_000 * 10**9


def decoded(payload: bytes, **options: Any) -> list[Any]:
    return list(CsvSettings(**options).build().decode("d", payload, NOW))


@pytest.mark.parametrize(
    ("payload", "options", "reports"),
    [
        (b"time,a,b\n1700000000,1.5,on\n1700000001,2,\n", {},
         [(FIRST, {"a": 1.5, "b": "on"}), (FIRST + 10**9, {"a": 2.0})]),
        (b"1.5,on\r\n", {"columns": ("a", "b")}, [(None, {"a": 1.5, "b": "on"})]),
        (b"1,2,3", {"columns": ("a", "", "c")}, [(None, {"a": 1.0, "c": 3.0})]),
        # A logger of Campbell Scientific's (TOA5): four lines of header, NAN for no value.
        (b'"TOA5","station","CR1000"\n"TIMESTAMP","RECORD","AirT"\n"TS","RN","Deg C"\n"","","Avg"\n'
         b'"2023-11-14 22:13:20",17,"NAN"\n"2023-11-14 22:14:20",18,4.25\n',
         {"skip": 4, "columns": ("TIMESTAMP", "", "AirT"), "time": "TIMESTAMP"},
         [(FIRST + 60 * 10**9, {"AirT": 4.25})]),
        (b"Zeit;Temp\n2023-11-14T23:13:20+01:00;-3,75\n",
         {"delimiter": ";", "decimal": ",", "time": "Zeit"}, [(FIRST, {"Temp": -3.75})]),
        (b"a\tb\n1\t2\n", {"delimiter": "\t"}, [(None, {"a": 1.0, "b": 2.0})]),
        (b'a,b\n"x, y","say ""hi"""\n', {}, [(None, {"a": "x, y", "b": 'say "hi"'})]),
        (b"\xef\xbb\xbfa,b\n1,2\n", {}, [(None, {"a": 1.0, "b": 2.0})]),
        (b"a,b\n\n1,2\n\n,\n", {}, [(None, {"a": 1.0, "b": 2.0})]),
        (b"a,time\n1,1700000000123456789\n", {}, [(1_700_000_000_123_456_789, {"a": 1.0})]),
    ],
)  # fmt: skip
def test_good(payload: bytes, options: dict[str, Any], reports: list[Any]) -> None:
    assert decoded(payload, **options) == reports


@pytest.mark.parametrize(
    ("payload", "options", "reason"),
    [
        (b"", {}, "empty"), (b"a,b\n", {}, "empty"), (b"a,b\n,\n", {}, "empty"),
        (b"time\n1\n", {}, "empty"), (b"a,b\n1\n", {}, "columns"), (b"a\n1,2\n", {}, "columns"),
        (b"a,a\n1,2\n", {}, "metric"), (b"a\x07\n1\n", {}, "metric"), (b"\xff", {}, "malformed"),
        (b'a\n"1', {}, "malformed"), (b'a\n"1"2\n', {}, "malformed"),
        (b"a,time\n1,yesterday\n", {}, "time"), (b"a,time\n1,-5\n", {}, "time"),
        (b"a\n" + b"1\n" * (MAX_REPORTS + 1), {}, "too_many"),
        (b"a,b,c,d,e,f\n" + b"1,2,3,4,5,6\n" * (MAX_NODES // 6), {}, "too_many"),
        (b"\n" * (2 * MAX_REPORTS + 1), {}, "too_many"), (b"a\n" + b"x" * 2_000, {}, "metric"),
        (b"a,b\n1,2\n", {"time": "when"}, "columns"), (b"a\n" + b"9" * 400, {}, "malformed"),
    ],
)  # fmt: skip
def test_bad(payload: bytes, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoded(payload, **options)
    assert refused.value.reason == reason


cells = st.floats(allow_nan=False, allow_infinity=False) | st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="0123456789\x7f"),
    max_size=8,
)


@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=5))
def test_what_is_written_by_rfc_4180_comes_back(rows: list[list[Any]]) -> None:
    written = io.StringIO()
    csv.writer(written).writerows([["a", "b", "c"], *rows])
    expected = []
    for row in rows:
        values = {
            name: cell.strip() if isinstance(cell, str) else cell
            for name, cell in zip("abc", row, strict=True)
        }
        kept = {
            name: cell
            for name, cell in values.items()
            if not isinstance(cell, str) or cell.lower() not in ("", "nan", "null")
        }
        expected += [(None, kept)] if kept else []
    payload = written.getvalue().encode()
    if expected:
        assert decoded(payload) == expected
    else:
        with pytest.raises(DecodeError):
            decoded(payload)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("columns: [a, a]", 'two columns are named .a.'),
        ('columns: [""]', "no column for a metric"),
        ("columns: [a], time: b", "no column is named b"),
        ("delimiter: ';;'", "at most 1 character"),
        ("""delimiter: '"'""", "cannot be between columns"),
        ("decimal: ','", "told apart by the decimal sign"), ("skip: -1", "expected at least 0"),
        ("column: [a]", 'unknown key "column"'),
    ],
)  # fmt: skip
def test_bad_options_are_told(options: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=f"(?i){message}") as error:
        loads(f"devices:\n- type: mqtt\n  codec: {{type: csv, {options}}}\n")
    assert [problem.line for problem in error.value.problems] == [3]
