"""From a file to a Config, with everything that is wrong said at once."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway import registry
from gateway.config.alert_names import check_alerts
from gateway.config.claims import claims
from gateway.config.explain import explain, nearest
from gateway.config.failovers import failovers
from gateway.config.loops import loops
from gateway.config.models import Config, names
from gateway.config.problems import InvalidConfig, Problem
from gateway.config.scalars import plain
from gateway.config.secrets import secrets
from gateway.config.source import Place, Source, parse, read
from gateway.config.substitute import substitution
from gateway.core.errors import ConfigError
from gateway.core.ids import RESERVED
from gateway.core.secrecy import conceal

LOOKED_AT = ("$BERRYGATE_CONFIG", "./berrygate.yaml", "/etc/berrygate/berrygate.yaml")
DEFAULT_DEVICES = ({"type": "system", "id": "pi", "interval": "5s"}, {"type": "mqtt"})

_SECTIONS = (
    ("devices", "id", registry.DEVICES, DEFAULT_DEVICES),
    ("bridges", "name", registry.BRIDGES, ()),
)


def find(explicit: Path | None = None) -> Path | None:
    """The configuration file: the one given, or the first there is of LOOKED_AT, or None."""
    if explicit is not None:
        return explicit
    if named := os.environ.get("BERRYGATE_CONFIG"):
        return Path(named)
    candidates = (Path(name) for name in LOOKED_AT[1:])
    return next((path for path in candidates if path.is_file()), None)


def load(
    path: Path | None, environment: Mapping[str, str] | None = None, base: Path | None = None
) -> Config:
    """The configuration in a file, or the built-in one for None. base: the folder that relative
    `${file:…}` are looked for in; the file's own by default. Raises InvalidConfig."""
    environment = os.environ if environment is None else environment
    if path is None:
        return build(Source())
    return build(read(path, substitution(environment, base or path.parent)))


def loads(text: str, environment: Mapping[str, str] | None = None) -> Config:
    """As `load`, of text. Raises InvalidConfig."""
    environment = os.environ if environment is None else environment
    return build(parse(text, "<text>", substitution(environment, Path())))


def build(source: Source) -> Config:
    """A Config of what was read. Raises InvalidConfig with all problems."""
    data = {} if source.data is None else source.data
    if not isinstance(data, dict):
        fix = "begin each line with `key:`"
        problem = source.problem((), "not keys and values", fix=fix)
        raise InvalidConfig([*source.problems, problem])
    whole: dict[str, Any] = dict(data)
    for section, key, group, default in _SECTIONS:
        items = data.get(section, default)
        whole[section] = _items(source, items, section, group)
        source.problems += _taken(source, items, section, key)
    config = _validated(source, (), Config, whole)
    if isinstance(config, Config) and not source.problems:
        source.problems += loops(source, config)
        source.problems += claims(source, config)
        source.problems += check_alerts(source, config)
        source.problems += failovers(source, config)
    if not isinstance(config, Config) or source.problems:
        raise InvalidConfig(_in_order(source.problems))
    conceal(secrets(config, source))
    return config


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By place; an alias repeats what is wrong with its anchor, which is said once."""
    once = {(p.line, p.column, p.message): p for p in reversed(problems)}
    return sorted(once.values(), key=lambda problem: (problem.line, problem.column))


def _items(source: Source, items: Any, section: str, group: str) -> list[BaseModel]:
    """The section's items, each validated by its own driver's model; bad ones are left out."""
    if items is None:
        return []
    if not isinstance(items, list | tuple):
        problem = source.problem((section,), f"{section} is a list", fix="- type: …")
        source.problems.append(problem)
        return []
    built = (_item(source, (section, n), item, group) for n, item in enumerate(items))
    return [item for item in built if item is not None]


def _item(source: Source, place: Place, item: Any, group: str) -> BaseModel | None:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        fix = f"type: one of {', '.join(registry.known(group))}"
        source.problems.append(source.problem(place, "a type is missing", fix=fix))
        return None
    try:
        model = registry.resolve(group, item["type"])
    except ConfigError as error:
        source.problems.append(source.problem((*place, "type"), str(error), fix=error.fix or ""))
        return None
    # No driver may import the registry: it is handed its codec's settings ready-made.
    if group == registry.DEVICES and "codec" in model.model_fields and "codec" in item:
        item = {**item, "codec": _codec(source, (*place, "codec"), item["codec"])}
        if item["codec"] is None:
            del item["codec"]
    return _validated(source, place, model, item)


def _codec(source: Source, place: Place, written: Any) -> BaseModel | None:
    """`json`, or `{type: text, …}`."""
    if isinstance(written, str):
        written = {"type": written}
    return _item(source, place, written, registry.CODECS)


def _validated(
    source: Source, place: Place, model: type[BaseModel], data: dict[str, Any]
) -> BaseModel | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error
    retyped = _retyped(source, place, data, found)
    if retyped is not None:
        try:
            return model.model_validate(retyped)
        except ValidationError as error:
            found = error
    source.problems += explain(source, place, model, found)
    return None


def _retyped(
    source: Source, base: Place, data: dict[str, Any], error: ValidationError
) -> dict[str, Any] | None:
    """The data with what was put in for a whole value read as YAML would, where the model takes
    no text; None where there is nothing of that kind. A model that takes text, such as a secret's,
    gets text."""
    changes: dict[Place, Any] = {}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        place = nearest(source, (*base, *detail["loc"]))
        value = source.private.get(place)
        if value is None or not value.whole or detail["type"].startswith("string_"):
            continue
        typed = plain(value.text)
        if not isinstance(typed, str):
            changes[place[len(base) :]] = typed
    for place, typed in changes.items():
        data = _with(data, place, typed)
    return data if changes else None


def _with(data: Any, place: Place, value: Any) -> Any:
    """`data` with another value at `place`."""
    if not place:
        return value
    first, rest = place[0], place[1:]
    if isinstance(data, dict):
        return {**data, first: _with(data[first], rest, value)}
    if isinstance(data, list):
        return [_with(item, rest, value) if n == first else item for n, item in enumerate(data)]
    return data  # already a model


def _taken(source: Source, items: Any, section: str, key: str) -> Iterator[Problem]:
    """Names that are given twice or not to be had."""
    rows = list(items) if isinstance(items, list | tuple) else []
    given = [_name_and_type(item, key) for item in rows]
    seen: dict[str, Place] = {}
    for number, name in enumerate(names(given)):
        place = (section, number, key)
        if name in seen:
            first = source.values.get(seen[name])
            hint = f"first on line {first.line}" if first else ""
            fix = f"give it another {key}"
            yield source.problem(place, f'"{name}" is taken', hint=hint, fix=fix)
        elif name in RESERVED and section == "devices":
            yield source.problem(place, f'"{name}" is reserved', fix=f"give it another {key}")
        seen.setdefault(name, place)


def _name_and_type(item: Any, key: str) -> tuple[str | None, str]:
    if not isinstance(item, dict):
        return None, "?"
    name, kind = item.get(key), item.get("type")
    return name if isinstance(name, str) and name else None, kind if isinstance(kind, str) else "?"
