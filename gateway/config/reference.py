"""The configuration's reference, made from its models: `python -m gateway.config.reference`."""

import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway import registry
from gateway.config.models import Config
from gateway.config.schema import drivers
from gateway.core.settings import BridgeSettings, CodecSettings, DeviceSettings

_HEAD = """# Configuration

Looked for at `-c FILE`, `$BERRYGATE_CONFIG`, `./berrygate.yaml`, `/etc/berrygate/berrygate.yaml`;
with none of them the built-in one runs, which is `config/default.yaml`. Every key may be left out
unless it says *required*. `berrygate check` says everything that is wrong with a file at once.

In values, `${NAME}` is an environment variable, `${NAME:-default}` one with a default,
`${file:/path}` a file's content, `$${` a plain `${`. Durations are `500ms 5s 1m 2h 7d`, sizes
`512B 64kB 10MB 1GB` (powers of ten). Only `true` and `false` are booleans.
"""
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m"), (1.0, "s"), (0.001, "ms"))
_SIZES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


def reference() -> str:
    """The whole page, as Markdown."""
    lines = [_HEAD, *_section("", Config)]
    for title, base, group in (
        ("Devices", DeviceSettings, registry.DEVICES),
        ("Bridges", BridgeSettings, registry.BRIDGES),
        ("Codecs", CodecSettings, registry.CODECS),
    ):
        lines.append(f"# {title}\n")
        for name, model in drivers(group).items():
            lines += _section(f"type: {name}", model, base)
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, model: type[BaseModel], base: type[BaseModel] | None = None) -> list[str]:
    """A table of a model's own keys, then one for each model in it."""
    title = f"## `{name}`\n" if name else "## Top level\n"
    lines = [title, f"{_text(model.__doc__)}\n", "| key | type | default | what for |"]
    lines.append("|---|---|---|---|")
    nested: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        lines.append(
            f"| `{key}` | {_type(field)} | {_default(field)} | {_text(field.description)} |"
        )
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            nested.append((key, field.annotation))
    lines.append("")
    for key, inner in nested:
        if inner is not CodecSettings:
            lines += _section(f"{name}: {key}" if base else f"{name}.{key}".strip("."), inner)
    return lines


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _type(field: FieldInfo) -> str:
    return " or ".join(dict.fromkeys(_types(field.annotation, field.metadata)))


def _types(annotation: Any, metadata: Any) -> Iterator[str]:
    formats = [getattr(m, "json_schema", {}) or {} for m in metadata]
    found = next((f["format"] for f in formats if "format" in f), None)
    if found:
        yield str(found)
        return
    name = getattr(annotation, "__name__", "")
    known = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
    if name in known:
        yield known[name]
    elif name in ("Secret", "Path"):
        yield {"Secret": "secret", "Path": "path"}[name]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "codec" if annotation is CodecSettings else "section"
    elif name == "Literal":
        yield from (f"`{value}`" for value in get_args(annotation))
    elif name in ("tuple", "list"):
        yield "list"
    elif name in ("Mapping", "dict"):
        yield "keys and values"
    else:
        for part in get_args(annotation):
            if part is not type(None):
                yield from _types(part, getattr(part, "__metadata__", ()))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.default
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel):
        return "" if not isinstance(value, CodecSettings) else f"`{value.type}`"
    kind = _type(field)
    if kind == "duration":
        return f"`{_quantity(value, _UNITS)}`"
    if kind == "size":
        return f"`{_quantity(value, _SIZES)}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _quantity(value: float, units: Any) -> str:
    for size, unit in units:
        if value >= size and (value / size) == int(value / size):
            return f"{int(value / size)}{unit}"
    return str(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
