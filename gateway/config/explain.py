"""What pydantic found, in our words: what is wrong, where, and what to write instead."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.config.problems import Problem
from gateway.config.source import Place, Source
from gateway.core.descriptions import description
from gateway.core.ids import slug
from gateway.core.settings import ID_PATTERN, duration_text, parse_duration, parse_size, size_text

_UNITS = {"size": ("B", "kB", "MB", "GB"), "duration": ("ms", "s", "m", "h", "d")}
_YES, _NO = ("yes", "y", "on", "1", "true", "1.0"), ("no", "n", "off", "0", "false", "0.0")
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One error of pydantic's. loc: its own place, below `base`, the place of `model`."""

    source: Source
    base: Place
    model: type[BaseModel]
    place: Place
    loc: Place
    kind: str
    context: dict[str, Any]
    value: Any
    text: str

    @property
    def key(self) -> str:
        """`key: ` before a fix; nothing in a list."""
        last = self.place[-1] if self.place else 0
        return f"{last}: " if isinstance(last, str) else ""

    def problem(self, message: str, *, hint: str = "", fix: str = "") -> Problem:
        return self.source.problem(self.place, message, hint=hint, fix=fix)


def explain(
    source: Source, base: Place, model: type[BaseModel], error: ValidationError
) -> list[Problem]:
    """The problems in `model`, whose data stands at `base`. What came of another problem, such as
    a variable that is not set, is left out; a value that fits none of several types is one."""
    known_bad = {problem.path for problem in source.problems}
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        finding = _finding(source, base, model, detail)
        problem = _explain(finding)
        if finding.kind in ("value_error", "wrong") and _any_below(known_bad, problem.path):
            continue
        if problem.path in known_bad:
            continue
        first = found.get(problem.path)
        found[problem.path] = problem if first is None else _either(first, problem)
    return list(found.values())


def _finding(source: Source, base: Place, model: type[BaseModel], detail: Any) -> _Finding:
    loc = (*base, *detail["loc"])
    context, value = detail.get("ctx", {}), detail.get("input")
    return _Finding(
        source, base, model, nearest(source, loc), loc, detail["type"], context, value,
        detail["msg"],
    )  # fmt: skip


def nearest(source: Source, place: Place) -> Place:
    """pydantic's place, without the names of union members it puts in between."""
    while place and place not in source.values and place not in source.keys:
        place = place[:-1]
    return place


def _any_below(paths: set[str], path: str) -> bool:
    return any(not path or other == path or other.startswith(f"{path}.") for other in paths)


def _either(first: Problem, second: Problem) -> Problem:
    other = second.hint.removeprefix("expected ")
    if not first.hint or not other or other in first.hint:
        return first
    return replace(first, hint=f"{first.hint} or {other}")


def _explain(finding: _Finding) -> Problem:
    if finding.kind in ("extra_forbidden", "missing"):
        return _unknown(finding) if finding.kind == "extra_forbidden" else _missing(finding)
    if finding.value is None and finding.kind not in ("value_error", "wrong", "too_short"):
        fix = "give it one, or leave the key out"
        return finding.problem("a value is missing", fix=fix)
    return _EXPLAINED.get(finding.kind, _other)(finding)


def _unknown(finding: _Finding) -> Problem:
    name = str(finding.loc[-1])
    model = _model_at(finding.model, finding.loc[len(finding.base) : -1])
    fields = [field.alias or key for key, field in model.model_fields.items()]
    close = get_close_matches(name, fields, 1)
    fix = f"{close[0]}:" if close else "leave it out"
    hint = "" if close else f"known here: {', '.join(fields)}"
    message = f'unknown key "{name}"'
    return finding.source.problem(finding.loc, message, key=True, hint=hint, fix=fix)


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The model at a place below another; an item of a list is of the list's model."""
    for step in place:
        if isinstance(step, int):
            continue
        info = model.model_fields.get(step)
        inner = None if info is None else _model_in(info.annotation)
        if inner is None:
            return model
        model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *get_args(annotation))
    models = (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return next(models, None)


def _missing(finding: _Finding) -> Problem:
    name = str(finding.loc[-1])
    message, fix = f'"{name}" is missing', f"add {name}:"
    return finding.source.problem(finding.loc[:-1], message, key=True, fix=fix)


def _boolean(finding: _Finding) -> Problem:
    written = str(finding.value).lower()
    fix = "true" if written in _YES else "false" if written in _NO else "true or false"
    message = f'"{finding.value}" is neither true nor false'
    return finding.problem(message, hint="expected true or false", fix=f"{finding.key}{fix}")


def _number(finding: _Finding) -> Problem:
    whole = "int" in finding.kind
    hint = "expected a whole number" if whole else "expected a number"
    message, fix = "not a number", "write it in digits, without a unit"
    if isinstance(finding.value, float) and whole:
        message, fix = "not a whole number", f"{finding.key}{_rounded(finding.value)}"
    return finding.problem(message, hint=hint, fix=fix)


def _rounded(value: float) -> str:
    return f"{value:.0f}" if abs(value) < 1e15 else "a smaller number"


def _text(finding: _Finding) -> Problem:
    value = finding.value
    if isinstance(value, bool | int | float):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        fix = f'put it in quotes: "{shown}"'
        return finding.problem("not text", hint="expected text", fix=fix)
    return finding.problem("not text", hint="expected text", fix=f"{finding.key}text, on one line")


def _list(finding: _Finding) -> Problem:
    value = finding.value
    fix = f'{finding.key}["{value}"]' if isinstance(value, str) else "begin each item with `- `"
    return finding.problem("not a list", hint="expected a list", fix=fix)


def _mapping(finding: _Finding) -> Problem:
    name = finding.key.removesuffix(": ")
    fix = f"{name}: {{key: value}}" if name else "{key: value}"
    return finding.problem("not keys and values", hint="expected keys and values", fix=fix)


def _choice(finding: _Finding) -> Problem:
    expected = str(finding.context.get("expected", ""))
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    value = str(finding.value)
    close = [value] if value in choices else get_close_matches(value, choices, 1)
    fix = f"use one of {', '.join(choices)}" if len(choices) > 1 else f"{finding.key}{choices[0]}"
    if close:
        quoted = f"'{close[0]}'" in expected and not _is_plain_text(close[0])
        fix = finding.key + (f'"{close[0]}"' if quoted else close[0])
    hint = f"expected {', '.join(choices)}"
    return finding.problem(f'"{value}" is not one of the choices', hint=hint, fix=fix)


def _is_plain_text(text: str) -> bool:
    return not text.replace(".", "", 1).isdigit()


def _bound(finding: _Finding) -> Problem:
    name, words = _BOUNDS[finding.kind]
    limit = finding.context[name]
    shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
    written = _as_written(finding.source, finding.place)
    if isinstance(written, str):  # a number with a unit
        shown = _in_its_unit(written, limit) or shown
    message = f"too {'small' if name.startswith('g') else 'large'}"
    fix = f"{finding.key}{shown}" if name in ("ge", "le") else ""
    return finding.problem(message, hint=f"expected {words} {shown}", fix=fix)


def _in_its_unit(written: str, limit: float) -> str:
    for parse, text in ((parse_size, size_text), (parse_duration, duration_text)):
        try:
            parse(written)
        except ValueError:
            continue
        return text(limit)
    return ""


def _as_written(source: Source, place: Place) -> Any:
    found = source.data
    for step in place:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _pattern(finding: _Finding) -> Problem:
    value, pattern = str(finding.value), str(finding.context.get("pattern"))
    if pattern == ID_PATTERN:
        message, hint = f'"{value}" is not an id', "expected a-z, 0-9, _ and -"
        return finding.problem(message, hint=hint, fix=f"{finding.key}{slug(value) or 'a-name'}")
    if pattern.startswith("^https?://"):
        hint, fix = "expected http://host or https://host", f"{finding.key}http://{value}"
        return finding.problem("not a URL", hint=hint, fix="" if "://" in value else fix)
    return finding.problem("not of the expected form", fix=_purpose(finding))


def _purpose(finding: _Finding) -> str:
    """What the key is for, where nothing better is known."""
    model = _model_at(finding.model, finding.loc[len(finding.base) : -1])
    name = str(finding.loc[-1]) if finding.loc else ""
    return " ".join(description(model, name).split()) if name in model.model_fields else ""


def _quantity(finding: _Finding) -> Problem:
    kind, context, text = finding.kind, finding.context, str(finding.value)
    unit, message = str(context.get("unit", "")), str(context.get("message", finding.text))
    default = "MB" if kind == "size" else "s"
    example = "10MB" if kind == "size" else "5s"
    fix = f"{finding.key}{example}"
    if unit:
        lowered = {name.lower(): name for name in _UNITS[kind]}
        close = get_close_matches(unit.lower(), lowered, 1, cutoff=0.3)
        number = text.strip().removesuffix(unit).strip()
        fix = f"{finding.key}{number}{lowered[close[0]] if close else default}"
    elif message.endswith("without a unit"):
        fix = f"{finding.key}{text.strip()}{default}"
    elif message.startswith("not a "):
        message = f'"{text}" is {message}'
    return finding.problem(message, hint=f"expected {', '.join(_UNITS[kind])}", fix=fix)


def _wrong(finding: _Finding) -> Problem:
    """A model's own word about one of its keys."""
    context = finding.context
    place = nearest(finding.source, (*finding.place, str(context["key"])))
    return finding.source.problem(place, str(context["message"]), fix=str(context["fix"]))


def _short(finding: _Finding) -> Problem:
    return finding.problem("cannot be empty", hint="expected at least one item")


def _other(finding: _Finding) -> Problem:
    message = str(finding.context.get("error") or finding.text)
    return finding.problem(message[:1].lower() + message[1:], fix=_purpose(finding))


_EXPLAINED: dict[str, Callable[[_Finding], Problem]] = {
    "size": _quantity,
    "duration": _quantity,
    "bool_type": _boolean,
    **dict.fromkeys(
        ("number_type", "int_type", "int_parsing", "int_parsing_size", "int_from_float",
         "float_type", "float_parsing", "finite_number"), _number,
    ),
    **dict.fromkeys(("string_type", "path_type", "string_unicode"), _text),
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), _list),
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type", "mapping_type"), _mapping
    ),
    "literal_error": _choice,
    **dict.fromkeys(_BOUNDS, _bound),
    "string_pattern_mismatch": _pattern,
    "wrong": _wrong,
    "too_short": _short,
}  # fmt: skip
