"""A driver's settings class: tag, schema and documentation; and that it is registered."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway import registry
from gateway.config import load
from gateway.core.descriptions import description
from gateway.core.errors import ConfigError
from gateway.core.settings import Secret, Settings
from gateway.testing.verdict import unfit

S = TypeVar("S", bound=Settings)

_SECRET = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|psk|(api|access)_?key)$")
_STAND_IN = "5ec4e7" * 6  # for what an example takes from the environment
_UNKNOWN = "no_such_key"


def check_settings(settings: type[S], base: type[Settings], config: Mapping[str, Any]) -> S:
    """The settings made of `config`, as in the configuration file. Raises Unfit."""
    if not (isinstance(settings, type) and issubclass(settings, base)):
        unfit(f"{settings!r} is no {base.__name__}", f"class …({base.__name__}): …")
    for model in dict.fromkeys(_models(settings)):
        _check_model(model)
    _check_tag(settings)
    made = _made(settings, config)
    _check_strict(settings, config, made)
    return made


def check_registered(settings: type[Settings], group: str) -> None:
    """Raises Unfit unless an entry point leads to the class."""
    name = settings.model_fields["type"].default
    value = f"{settings.__module__}:{settings.__qualname__}"
    fix = f'in pyproject.toml: [project.entry-points."{group}"] {name} = "{value}"; then install it'
    try:
        found = registry.resolve(group, name)
    except ConfigError as error:
        unfit(f'type "{name}" is not registered: {error}', fix)
    if found is not settings:
        unfit(f'type "{name}" is registered as {found.__module__}:{found.__qualname__}', fix)


def check_example(settings: type[Settings], example: Path) -> None:
    """Raises Unfit unless the file can be used, and shows the driver."""
    try:
        text = example.read_text()
        names = dict.fromkeys(re.findall(r"\$\{(\w+)", text), _STAND_IN)
        config = load(example, names)
    except (OSError, ConfigError) as error:
        unfit(f"the example {example} cannot be used: {error}", "berrygate check -c …")
    if not any(isinstance(each, settings) for each in (*config.devices, *config.bridges)):
        tag = settings.model_fields["type"].default
        unfit(f"the example {example} does not show the driver", f"{{type: {tag}, …}}")


def secrets(value: Any) -> Iterator[str]:
    """Every secret in settings."""
    if isinstance(value, Secret):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from secrets(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from secrets(each)


def check_secrecy(made: Settings, said: str, where: str) -> None:
    """Raises Unfit if what is `said` to people holds a secret of the settings."""
    for secret in filter(None, secrets(made)):
        if secret in said:
            fix = "leave it out; use get_secret_value() only where it goes to the other side"
            unfit(f"{where} shows a secret of the settings", fix)


def _check_model(model: type[BaseModel]) -> None:
    name = model.__name__
    if not issubclass(model, Settings):
        unfit(f"{name} is no Settings: unknown keys would pass", f"class {name}(Settings): …")
    if not model.__doc__:
        unfit(f"{name} has no docstring", "say what it is for: it is shown in the reference")
    for key, field in model.model_fields.items():
        if not description(model, key):
            unfit(f"{name}.{key} has no docstring", f'write """…""" on the line under {key}: …')
        if _SECRET.search(key) and str in set(_parts(field.annotation)):
            unfit(
                f"{name}.{key} is a str and would be printed in logs and errors",
                f"{key}: Secret (gateway.core.settings)",
            )


def _check_tag(settings: type[Settings]) -> None:
    field = settings.model_fields["type"]
    tag = field.default
    if not isinstance(tag, str) or get_args(field.annotation) != (tag,):
        name = tag if isinstance(tag, str) else "…"
        fix = f'type: Literal["{name}"] = "{name}"'
        unfit(f"{settings.__name__}.type is not one fixed word with itself as default", fix)


def _made(settings: type[S], config: Mapping[str, Any]) -> S:
    try:
        return settings.model_validate(dict(config))
    except ValidationError as error:
        unfit(
            f"{settings.__name__} does not take {sorted(config)}: {error}",
            "give the check a configuration as in the example file, without `type`",
        )


def _check_strict(settings: type[Settings], config: Mapping[str, Any], made: Settings) -> None:
    try:
        settings.model_validate({**config, _UNKNOWN: 1})
    except ValidationError:
        pass
    else:
        unfit(f"{settings.__name__} takes unknown keys", "leave model_config as Settings has it")
    check_secrecy(made, repr(made), "repr() of the settings")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """A model and those that are part of it."""
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part
            for field in part.model_fields.values():
                yield from _models(field.annotation)


def _parts(annotation: Any) -> Iterator[Any]:
    """The classes in an annotation, `dict[str, X]` and all; of a mapping the values only."""
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        yield from _parts(arguments[0])
    elif origin in (Union, UnionType, tuple, list):
        for each in arguments:
            yield from _parts(each)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from _parts(arguments[1])
    elif origin is None:
        yield annotation
