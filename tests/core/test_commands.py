"""Arguments against schemas, as somebody else's code judges them too."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.commands import misfit

SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": "object", "required": ["a"]},
    {"type": ["number", "string"]},
    {"type": "integer", "minimum": 1, "maximum": 9},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 2},
    {"type": "number", "multipleOf": 0.5},
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"enum": [1, "a", True, None]},
    {"const": 0},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "object", "required": ["a"]}},
        "additionalProperties": False,
    },
    {"type": "object", "additionalProperties": {"type": "string"}},
]
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 12) | st.sampled_from([0.0, 0.5, 1.5, 2.25, 9.0])
    | st.sampled_from(["", "a", "ab", "abc"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@given(value=VALUES)
@settings(max_examples=60, deadline=None)
def test_it_judges_as_others_do(schema: dict[str, Any], value: Any) -> None:
    fits = jsonschema_rs.validator_for(schema).is_valid(value)
    assert (misfit(schema, value) == "") is fits


def test_it_says_where() -> None:
    schema = {"properties": {"a": {"items": {"type": "number"}}}}
    assert misfit(schema, {"a": [1, "x"]}) == "a[1]: expected number"
