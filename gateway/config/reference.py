"""docs/configuration.md, made of the models: `python -m gateway.config.reference [FILE]`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway import registry
from gateway.config.load import LOOKED_AT
from gateway.config.models import Config
from gateway.config.scalars import plain
from gateway.config.schema import drivers
from gateway.core.descriptions import description
from gateway.core.settings import Secret, duration_text, size_text

_LOOKED_AT = "\n".join(f"{n}. `{place}`" for n, place in enumerate(("-c FILE", *LOOKED_AT), 1))
_INTRODUCTION = f"""# Configuration

<!-- Made by `python -m gateway.config.reference docs/configuration.md`; do not edit. -->

One YAML file, the first there is of:

{_LOOKED_AT}

With none of them the built-in configuration runs, which is
[`config/default.yaml`](../config/default.yaml). Whatever a file leaves out is as it is there.
More files to begin with: [`config/examples/`](../config/examples/).

`berrygate check -c FILE` says everything that is wrong with a file, with its place and what to
write instead. `berrygate schema` prints a JSON schema for editors. An unknown key is an error.

## How values are written

- **Durations** have a unit: `500ms`, `5s`, `1m`, `2h`, `7d`. **Sizes** too, in powers of ten:
  `512B`, `64kB`, `10MB`, `1GB`. Only `0` needs none.
- YAML is read by the rules of YAML 1.2: only `true` and `false` are booleans, so `NO`, `yes` and
  `on` are text; `12:30:00` and dates are text; `1e3` is a number and `0o17` is octal. `017` is
  refused: write `17`, or `"017"` for text. A number where text is wanted goes in quotes: `"5"`.
- A key may be there once. Anchors and aliases (`&name`, `*name`) work; merging (`<<`) and tags
  (`!name`) do not. A file has at most 1 MB.
- `${{NAME}}` is the environment variable NAME, which must be set; `${{NAME:-default}}` is the
  default where it is not set or empty; `${{file:/path}}` is what a file holds, without the newline
  at its end, and a relative path begins at the configuration file. They work anywhere in a value,
  not in keys. `$${{` is a plain `${{`. What was put in is read as a number or as true or false only
  where nothing else will do, so a token of digits stays text; it is shown in no message.
- **Secret** text (passwords, tokens) is shown nowhere either. Keep it out of the file all the
  same: `${{NAME}}` or `${{file:/path}}`.
"""


def reference() -> str:
    """The page."""
    return "\n".join([_INTRODUCTION, *_sections(), *_driver_sections()])


def _sections() -> Iterator[str]:
    yield "## Sections\n"
    for name, field in Config.model_fields.items():
        model = _model(field)
        yield f"### `{name}`\n\n{_prose(Config, name)}\n"
        if model is not None:
            yield _table(model)
        elif not _listed(field):
            yield f"{_type(Config, name)}; default {_default(Config, name, field)}.\n"
        else:
            yield f"See [below](#{name}-1).\n"


def _driver_sections() -> Iterator[str]:
    for section, group, kind in (
        ("Devices", registry.DEVICES, "devices"),
        ("Bridges", registry.BRIDGES, "bridges"),
        ("Codecs", registry.CODECS, "codec"),
    ):
        where = "`codec: NAME`, or `codec: {type: NAME, …}`" if kind == "codec" else ""
        yield f"## {section}\n\n{where or f'Items of `{kind}`.'}\n"
        for name, model in drivers(group).items():
            yield f"### `type: {name}`\n\n{_first(model)}\n"
            yield _table(model, leave=("type",))


def _first(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _prose(model: type[BaseModel], name: str) -> str:
    return " ".join(description(model, name).split())


def _table(model: type[BaseModel], leave: tuple[str, ...] = ()) -> str:
    rows = list(_rows(model, "", leave, {}))
    if not rows:
        return "It has no keys of its own.\n"
    return "\n".join(["| key | type | default | what for |", "|---|---|---|---|", *rows, ""])


def _rows(
    model: type[BaseModel], above: str, leave: tuple[str, ...], shown: dict[type[BaseModel], str]
) -> Iterator[str]:
    """shown: the models that have their rows already, and under which key."""
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        if name in leave:
            continue
        inner = _model(field)
        if inner is not None and inner.model_fields and name != "codec":
            if inner in shown:
                text = f"As `{shown[inner]}`. {_prose(model, attribute)}"
                yield f"| `{above}{name}` | section | - | {text} |"
                continue
            shown[inner] = f"{above}{name}"
            yield from _rows(inner, f"{above}{name}.", (), shown)
            continue
        kind, default = _type(model, attribute), _default(model, name, field)
        cells = (f"`{above}{name}`", kind, default, _prose(model, attribute))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        if (item := _item(field)) is not None:
            each = ".NAME" if get_origin(field.annotation) is dict else "[]"
            yield from _rows(item, f"{above}{name}{each}.", (), shown)


def _model(field: FieldInfo) -> type[BaseModel] | None:
    found = field.annotation
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _item(field: FieldInfo) -> type[BaseModel] | None:
    """The model of what a list holds, or what stands behind names."""
    place = 1 if get_origin(field.annotation) is dict else 0
    found = next(iter(get_args(field.annotation)[place:]), None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _listed(field: FieldInfo) -> bool:
    return bool(field.default == ())


def _default(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    if field.default_factory is not None and name in ("id", "data_dir"):
        return "this machine's"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, ""):
        return "-"
    found = _property(model, name)
    kinds = [option.get("x-kind") for option in (found, *found.get("anyOf", ()))]
    kind = next(filter(None, kinds), None)
    if kind and not isinstance(value, str):
        return f"`{duration_text(value) if kind == 'duration' else size_text(value)}`"
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return str(getattr(value, "type", ""))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    text = str(value)
    # As YAML wants it: `*` and `{` begin something else, and "5" would be a number.
    quoted = isinstance(value, str) and (text[:1] in "*{[&!#" or not isinstance(plain(text), str))
    return f'"{text}"' if quoted else text


def _property(model: type[BaseModel], name: str) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema()["properties"][name]
    options = [option for option in found.get("anyOf", ()) if option.get("type") != "null"]
    return found | options[0] if len(options) == 1 and "x-kind" not in found else found


def _type(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if name == "codec":
        return "codec"
    if field.annotation is Secret or Secret in getattr(field.annotation, "__args__", ()):
        return "secret text"
    return _words(_property(model, field.alias or name))


def _words(found: dict[str, Any]) -> str:
    if "x-kind" in found:
        return str(found["x-kind"])
    if "const" in found or "enum" in found:
        choices = found.get("enum", [found.get("const")])
        texts = [choice for choice in choices if isinstance(choice, str)]
        # A choice that may be written with quotes and without is one choice.
        once = [choice for choice in choices if isinstance(choice, str) or str(choice) not in texts]
        return " or ".join(f"`{_written(choice)}`" for choice in once)
    if "anyOf" in found:
        return " or ".join(
            _words(option) for option in found["anyOf"] if option != {"type": "null"}
        )
    if found.get("type") == "array":
        items = found.get("items", {})
        return "list of sections" if "$ref" in items else f"list of {_words(items)}"
    return _simple(found)


def _simple(found: dict[str, Any]) -> str:
    names = {
        "integer": "whole number", "number": "number", "boolean": "`true` or `false`",
        "string": "text", "object": "keys and values",
    }  # fmt: skip
    word = names.get(str(found.get("type")), "text")
    if found.get("format") == "path":
        return "path"
    low, high = found.get("minimum"), found.get("maximum")
    if low is not None and high is not None:
        return f"{word} from {low} to {high}"
    return f"{word}, at least {low}" if low is not None else word


def main(arguments: list[str]) -> None:
    """Write the page to the file named, or to stdout."""
    if arguments:
        Path(arguments[0]).write_text(reference(), encoding="utf-8")
    else:
        sys.stdout.write(reference())


if __name__ == "__main__":
    main(sys.argv[1:])
