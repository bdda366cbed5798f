"""The texts of a model's fields, where they are read without pydantic."""

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.core.descriptions import describe, description
from gateway.core.settings import Settings


class Above(Settings):
    """A section."""

    plain: int = 1
    """What it is for,
    in two lines."""
    other: int = 2
    """Of the base."""
    again: int = 3
    """Not this one."""
    silent: int = 4


class Below(Above):
    """A section that is made of another."""

    again: int = 5
    """This one."""
    silent: int = 6
    short: Annotated[int, Field(alias="s", description="Given with the type.")] = 7
    section: Above = Above()
    """A section in it."""


def test_texts_are_those_that_pydantic_would_read() -> None:
    class Theirs(BaseModel, use_attribute_docstrings=True):
        plain: int = 1
        """What it is for,
        in two lines."""
        other: int = 2
        """Of the base."""

    class Ours(Settings):
        plain: int = 1
        """What it is for,
        in two lines."""
        other: int = 2
        """Of the base."""

    for name, field in Theirs.model_fields.items():
        assert description(Ours, name) == field.description


def test_who_declares_a_field_again_describes_it_again() -> None:
    assert description(Below, "plain") == "What it is for,\nin two lines."
    assert description(Below, "other") == "Of the base."
    assert description(Below, "again") == "This one."
    assert description(Above, "again") == "Not this one."
    assert description(Below, "silent") == ""
    assert description(Below, "short") == "Given with the type."


def test_they_are_in_the_schema() -> None:
    properties = Below.model_json_schema()["properties"]
    assert {name: shown.get("description") for name, shown in properties.items()} == {
        "plain": "What it is for,\nin two lines.",
        "other": "Of the base.",
        "again": "This one.",
        "silent": None,
        "s": "Given with the type.",
        "section": "A section in it.",
    }


def test_a_schema_without_properties_stays() -> None:
    schema = {"type": "object"}
    describe(schema, Below)
    assert schema == {"type": "object"}
