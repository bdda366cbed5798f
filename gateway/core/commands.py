"""What can be told to devices: how a command is described, and whether arguments fit. No I/O.

A description is a JSON Schema (2020-12) of the arguments, of which these keywords are looked at:
type, enum, const, properties, required, additionalProperties, items, minItems, maxItems, minimum,
maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, minLength, maxLength. Whatever else is in
one is for people and forms: title, description, unit, default.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

Schema = Mapping[str, Any]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a command's name may be: it is a level of topics and of URLs."""
IDENTITY = re.compile(r"[!-.0-~]{1,128}")
"""What the id of a command may be: printable ASCII without / and spaces, which URLs can hold."""
_DEEPEST = 10
_EXACT = 1e-9  # how near to a multiple a float must be, as a share of the step


@runtime_checkable
class Commandable(Protocol):
    """An actuator that can say what it may be told."""

    def commands(self, device: str) -> Mapping[str, Schema]:
        """By name, the schema of the arguments of each command of a device; {}: any arguments.
        device: its original name. Must not block."""
        ...


def misfit(schema: Schema, value: Any, where: str = "") -> str:
    """Why `value` does not fit, for people; "" if it does. where: what `value` is called."""
    return _misfit(schema, value, where, 0)


def _misfit(schema: Schema, value: Any, where: str, depth: int) -> str:
    if depth > _DEEPEST:
        return f"{where or 'the arguments'}: nested too deep"
    kind = _kind(schema, value)
    if kind:
        return _told(where, kind)
    for check in (_choice, _number, _text):
        if why := check(schema, value):
            return _told(where, why)
    if isinstance(value, Mapping):
        return _members(schema, value, where, depth)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _items(schema, value, where, depth)
    return ""


def _told(where: str, why: str) -> str:
    return f"{where}: {why}" if where else why


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer()


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": _is_number,
    "integer": _is_integer,
    "null": lambda value: value is None,
}


def _kind(schema: Schema, value: Any) -> str:
    wanted = schema.get("type")
    if wanted is None:
        return ""
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if any(_TYPES[name](value) for name in names if name in _TYPES):
        return ""
    return f"expected {' or '.join(names)}"


def _same(one: Any, other: Any) -> bool:
    # 1 == True in Python, not in JSON.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _choice(schema: Schema, value: Any) -> str:
    if "const" in schema and not _same(schema["const"], value):
        return f"expected {schema['const']!r}"
    known = schema.get("enum")
    if known is not None and not any(_same(each, value) for each in known):
        return f"expected one of {', '.join(map(str, known))}"
    return ""


def _number(schema: Schema, value: Any) -> str:
    if not _is_number(value):
        return ""
    limits: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("minimum", lambda limit: value < limit, "at least"),
        ("maximum", lambda limit: value > limit, "at most"),
        ("exclusiveMinimum", lambda limit: value <= limit, "more than"),
        ("exclusiveMaximum", lambda limit: value >= limit, "less than"),
    )
    for keyword, is_wrong, words in limits:
        if keyword in schema and is_wrong(schema[keyword]):
            return f"expected {words} {schema[keyword]}"
    step = schema.get("multipleOf")
    if step and abs(value / step - round(value / step)) > _EXACT:
        return f"expected a multiple of {step}"
    return ""


def _text(schema: Schema, value: Any) -> str:
    if not isinstance(value, str):
        return ""
    if len(value) < schema.get("minLength", 0):
        return f"expected at least {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        return f"expected at most {schema['maxLength']} characters"
    return ""


def _members(schema: Schema, value: Mapping[str, Any], where: str, depth: int) -> str:
    known: Mapping[str, Any] = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return _told(where, f"missing: {', '.join(missing)}")
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        inner = known.get(name, others)
        if inner is False:
            names = ", ".join(sorted(known)) or "none"
            return _told(where, f'no argument "{name}"; known: {names}')
        whole = f"{where}.{name}" if where else name
        if isinstance(inner, Mapping) and (why := _misfit(inner, member, whole, depth + 1)):
            return why
    return ""


def _items(schema: Schema, value: Sequence[Any], where: str, depth: int) -> str:
    if len(value) < schema.get("minItems", 0):
        return _told(where, f"expected at least {schema['minItems']} items")
    if len(value) > schema.get("maxItems", len(value)):
        return _told(where, f"expected at most {schema['maxItems']} items")
    inner = schema.get("items")
    if isinstance(inner, Mapping):
        for place, item in enumerate(value):
            if why := _misfit(inner, item, f"{where}[{place}]", depth + 1):
                return why
    return ""
