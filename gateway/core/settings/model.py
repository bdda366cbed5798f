"""The base of every configuration model, and what any of them may have."""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from gateway.core.descriptions import describe


class Secret(SecretStr):
    """A password or token: masked wherever it is printed; `get_secret_value()` to use it."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


ID_PATTERN = r"^[a-z0-9_-]{1,64}$"

Id = Annotated[str, Field(pattern=ID_PATTERN)]
"""An id of ours: `[a-z0-9_-]`, at most 64 characters."""


class Settings(BaseModel):
    """Base of every configuration model: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,  # most are only ever a part of another, which is built with all its parts
        json_schema_extra=describe,
        hide_input_in_errors=True,  # a traceback in a log would show passwords
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Takes `yes` for text and `true` for nothing but a boolean, where pydantic would guess.
        A section with nothing in it has its defaults."""
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        wanted = _kinds(annotation)
        if value is None and len(wanted) == 1 and issubclass(next(iter(wanted)), Settings):
            return {}
        if wanted <= {bool, NoneType} and isinstance(value, str | int | float):
            if not isinstance(value, bool):
                raise PydanticCustomError("bool_type", "expected true or false")
        elif isinstance(value, bool) and wanted <= {int, float, NoneType}:
            raise PydanticCustomError("number_type", "expected a number")
        return value


@cache
def _kinds(annotation: Any) -> frozenset[type]:
    """The classes of values that a field takes; `object` where that cannot be told."""
    origin = get_origin(annotation)
    if origin is Literal:
        return frozenset(type(choice) for choice in get_args(annotation))
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return frozenset().union(*map(_kinds, get_args(annotation)))
    found = origin or annotation
    return frozenset({found if isinstance(found, type) else object})


def wrong(key: str, message: str, fix: str) -> PydanticCustomError:
    """What a model raises about one of its keys, for the error to point at that key's value."""
    return PydanticCustomError("wrong", "{message}", {"key": key, "message": message, "fix": fix})
