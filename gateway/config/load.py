"""From a file to a Config, with everything that is wrong said at once."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway import registry
from gateway.config.models import Config, names
from gateway.config.problems import InvalidConfig, Problem
from gateway.config.source import Place, Source, parse, read
from gateway.config.substitute import substitution
from gateway.core.errors import ConfigError
from gateway.core.ids import RESERVED, slug
from gateway.core.settings import ID_PATTERN

LOOKED_AT = ("$BERRYGATE_CONFIG", "./berrygate.yaml", "/etc/berrygate/berrygate.yaml")
DEFAULT_DEVICES = ({"type": "system", "id": "pi", "interval": "5s"}, {"type": "mqtt"})

_UNITS = {"size": ("B", "kB", "MB", "GB"), "duration": ("ms", "s", "m", "h", "d")}


def find(explicit: Path | None = None) -> Path | None:
    """The configuration file: the one given, or the first there is of LOOKED_AT, or None."""
    if explicit is not None:
        return explicit
    if named := os.environ.get("BERRYGATE_CONFIG"):
        return Path(named)
    candidates = (Path(name) for name in LOOKED_AT[1:])
    return next((path for path in candidates if path.is_file()), None)


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file, or the built-in one for None. Raises InvalidConfig."""
    environment = os.environ if environment is None else environment
    if path is None:
        return build(Source())
    return build(read(path, substitution(environment, path.parent)))


def loads(text: str, environment: Mapping[str, str] | None = None) -> Config:
    """As `load`, of text. Raises InvalidConfig."""
    environment = os.environ if environment is None else environment
    return build(parse(text, "<text>", substitution(environment, Path())))


def build(source: Source) -> Config:
    """A Config of what was read. Raises InvalidConfig with all problems."""
    data = {} if source.data is None else source.data
    if not isinstance(data, dict):
        raise InvalidConfig([*source.problems, source.problem((), "expected keys and values")])
    known_bad = {problem.path for problem in source.problems}
    devices = _items(source, data, "devices", registry.DEVICES, list(DEFAULT_DEVICES))
    bridges = _items(source, data, "bridges", registry.BRIDGES, [])
    rest = {key: value for key, value in data.items() if key not in ("devices", "bridges")}
    try:
        config = Config.model_validate({**rest, "devices": devices, "bridges": bridges})
    except ValidationError as error:
        source.problems += _problems(source, (), Config, error, known_bad)
        raise InvalidConfig(_in_order(source.problems)) from error
    source.problems += _names(source, "devices", "id", [(d.id, d.type) for d in config.devices])
    source.problems += _names(source, "bridges", "name", [(b.name, b.type) for b in config.bridges])
    if source.problems:
        raise InvalidConfig(_in_order(source.problems))
    return config


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def _items(
    source: Source, data: dict[str, Any], section: str, group: str, default: list[Any]
) -> list[Any]:
    """The section's items, each validated by its own driver's model; bad ones are left out."""
    items = data.get(section, default)
    if items is None:
        items = []
    if not isinstance(items, list):
        source.problems.append(
            source.problem((section,), f"{section} is a list", fix="begin each item with `- type:`")
        )
        return []
    built = [_item(source, (section, n), item, group) for n, item in enumerate(items)]
    return [item for item in built if item is not None]


def _item(source: Source, place: Place, item: Any, group: str) -> BaseModel | None:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        known = ", ".join(registry.known(group))
        source.problems.append(
            source.problem(place, "an item needs a type", fix=f"type: one of {known}")
        )
        return None
    try:
        model = registry.resolve(group, item["type"])
    except ConfigError as error:
        source.problems.append(source.problem((*place, "type"), str(error), fix=error.fix or ""))
        return None
    item = dict(item)
    if group == registry.DEVICES and "codec" in model.model_fields and "codec" in item:
        codec = item["codec"]
        codec = {"type": codec} if isinstance(codec, str) else codec
        found = _item(source, (*place, "codec"), codec, registry.CODECS)
        if found is None:
            del item["codec"]
        else:
            item["codec"] = found
    known_bad = {problem.path for problem in source.problems}
    try:
        validated: BaseModel = model.model_validate(item)
    except ValidationError as error:
        source.problems += _problems(source, place, model, error, known_bad)
        return None
    return validated


def _names(
    source: Source, section: str, key: str, given: list[tuple[str | None, str]]
) -> Iterator[Problem]:
    """Names that are taken twice or not to be had."""
    seen: set[str] = set()
    for number, name in enumerate(names(given)):
        place = (section, number, key)
        if name in seen:
            yield source.problem(place, f'"{name}" is taken', fix=f"give it another {key}")
        elif name in RESERVED and section == "devices":
            yield source.problem(place, f'"{name}" is reserved', fix=f"give it another {key}")
        seen.add(name)


# -- what pydantic found, in our words ------------------------------------------------------


def _problems(
    source: Source,
    place: Place,
    model: type[BaseModel],
    error: ValidationError,
    known_bad: set[str],
) -> list[Problem]:
    found: dict[tuple[int, int, str], Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(source, place, model, detail)
        if problem.path not in known_bad:
            # A value that fits none of several types is one problem, not one for each type.
            found.setdefault((problem.line, problem.column, problem.path), problem)
    return list(found.values())


def _problem(source: Source, base: Place, model: type[BaseModel], detail: Any) -> Problem:
    place = _place(source, (*base, *detail["loc"]))
    kind, context, value = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "extra_forbidden":
        return _unknown(source, base, model, (*base, *detail["loc"]))
    if kind == "missing":
        missing = str(detail["loc"][-1])
        return source.problem(
            (*base, *detail["loc"][:-1]), f'"{missing}" is missing', fix=f"add {missing}:"
        )
    if kind in _UNITS:
        return _quantity(source, place, kind, context, value)
    if kind == "string_type" and isinstance(value, bool | int | float):
        return source.problem(place, "expected text", fix=f'put it in quotes: "{value}"')
    if kind == "string_pattern_mismatch":
        return _pattern(source, place, str(value), str(context.get("pattern")))
    message = str(context.get("error") or detail["msg"])
    return source.problem(place, message[0].lower() + message[1:], hint=_expected(context))


def _place(source: Source, place: Place) -> Place:
    """pydantic's place, without the names of union members it puts in between."""
    while place and place not in source.values and place not in source.keys:
        place = place[:-1]
    return place


def _expected(context: Any) -> str:
    return f"expected {context['expected']}" if "expected" in context else ""


def _unknown(source: Source, base: Place, model: type[BaseModel], place: Place) -> Problem:
    name = str(place[-1])
    fields = list(_model_at(model, place[len(base) : -1]).model_fields)
    close = get_close_matches(name, fields, 1)
    fix = f"{close[0]}:" if close else f"known here: {', '.join(fields)}"
    return source.problem(place, f'unknown key "{name}"', key=True, fix=fix)


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The model at a place below another."""
    for step in place:
        info = model.model_fields.get(str(step))
        if info is None or not isinstance(info.annotation, type):
            return model
        if not issubclass(info.annotation, BaseModel):
            return model
        model = info.annotation
    return model


def _pattern(source: Source, place: Place, text: str, pattern: str) -> Problem:
    if pattern == ID_PATTERN:
        return source.problem(
            place, f'"{text}" is not an id', hint="expected a-z, 0-9, _ and -", fix=slug(text)
        )
    if pattern.startswith("^https?://"):
        fix = f"http://{text}"
        return source.problem(place, "not a URL", hint="expected http:// or https://", fix=fix)
    return source.problem(place, "not of the expected form", hint=f"expected {pattern}")


def _quantity(source: Source, place: Place, kind: str, context: Any, value: Any) -> Problem:
    unit, expected = str(context.get("unit", "")), str(context.get("expected", ""))
    text = str(value)
    key = f"{place[-1]}: " if place and isinstance(place[-1], str) else ""
    if unit:
        lowered = {name.lower(): name for name in _UNITS[kind]}
        close = get_close_matches(unit.lower(), lowered, 1, cutoff=0.3)
        number = text.strip().removesuffix(unit).strip()
        fix = f"{key}{number}{lowered[close[0]]}" if close else f"use one of {expected}"
        message = f'unknown {kind} unit "{unit}"'
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        default = "MB" if kind == "size" else "s"
        message, fix = f"{kind} without a unit", f"{key}{text}{default}"
    else:
        example = "10MB" if kind == "size" else "5s"
        message, fix = f'"{text}" is not a {kind}', f"{key}{example}"
    return source.problem(place, message, hint=f"expected {expected}", fix=fix)
