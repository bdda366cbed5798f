"""JSON with places for values: whatever comes there, nothing around it changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.io.coap.templates import fill, places

WHOLE = '{"on": {on}, "by": "<{by}>", "list": [{on}, 1, {"deep": {by}}], "{": "}", "x\\"{{": null}'
VALUES = (
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(['"', "\\", '", "mode": "all', "\n", "{on}", "\u2028", "}{"])
)  # fmt: skip


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@given(on=VALUES, by=VALUES)
def test_a_value_stays_what_it_is(on: Any, by: Any) -> None:
    assert places(WHOLE) == {"on", "by"}
    pairs = json.loads(fill(WHOLE, {"on": on, "by": by}), object_pairs_hook=lambda found: found)
    assert pairs == [
        ("on", on),
        ("by", f"<{text(by)}>"),
        ("list", [on, 1, [("deep", by)]]),
        ("{", "}"),
        ('x"{{', None),
    ]


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{level}", {"level"}),
        ("[1, 2]", set()),
        ('"{a} and {b_2}"', {"a", "b_2"}),
        (r'"\u007ba}"', set()),
        (r'"\\{a}"', {"a"}),
        ('{"nothing": {}}', set()),
    ],
)
def test_names(template: str, names: set[str]) -> None:
    assert places(template) == names


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", "no JSON"),
        ('{"on": on}', "no JSON"),
        ('{"on": {on}', "no JSON with"),
        ('{"on": 1{on}}', "no JSON with"),
        ('{"on": -{on}}', "no JSON with"),
        ("{a}{b}", "no JSON with"),
        ("{{key}: 1}", "no JSON with"),
        ('{"{key}": 1}', "cannot be a key"),
        ('{"{key}" \n: 1}', "cannot be a key"),
        ('{"on": "{on}', "no JSON with"),
        (r'"\{on}"', "no JSON with"),
        (r'"\u{on}"', "no JSON with"),
        (r'"\u00{on}"', "no JSON with"),
        ("{1on}", "no JSON"),
        ("[" * 4_000, "deep"),
    ],
)
def test_what_is_no_json_whatever_comes(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        places(template)


PIECES = ("{a}", '"', "\\", ":", ",", "[", "]", "{", "}", "u00", "1", "-", " ", '"{a}"', "n")


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=7), value=VALUES)
def test_what_is_taken_is_json_with_any_value(pieces: list[str], value: Any) -> None:
    template = "".join(pieces)
    try:
        names = places(template)
    except ValueError:
        return
    json.loads(fill(template, dict.fromkeys(names, value)))
