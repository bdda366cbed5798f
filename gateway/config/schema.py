"""JSON Schema (draft 2020-12) of the whole configuration, drivers included."""

from typing import Any

from pydantic.json_schema import models_json_schema

from gateway import registry
from gateway.config.models import Config
from gateway.core.errors import ConfigError
from gateway.core.settings import duration_text, size_text

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_GROUPS = {"devices": registry.DEVICES, "bridges": registry.BRIDGES}
_TEXTS = {"duration": duration_text, "size": size_text}
_REFERENCE = {"$ref": "#/$defs/Reference"}


def drivers(group: str) -> dict[str, type[Any]]:
    """Every driver of a group whose dependencies are installed."""
    found = {}
    for name in registry.known(group):
        try:
            found[name] = registry.resolve(group, name)
        except ConfigError:
            continue  # an extra that is not installed cannot be described
    return found


def schema() -> dict[str, Any]:
    """For editors and checks: whatever it accepts is of the right form, and whatever `load` takes
    it accepts."""
    chosen = {section: drivers(group) for section, group in _GROUPS.items()}
    codecs = drivers(registry.CODECS)
    models: list[type[Any]] = [
        Config,
        *codecs.values(),
        *(m for found in chosen.values() for m in found.values()),
    ]
    references, whole = models_json_schema(
        [(model, "validation") for model in models], title="Berrygate configuration"
    )
    definitions = whole["$defs"]
    for found in (*chosen.values(), codecs):
        for model in found.values():
            definition = definitions[references[model, "validation"]["$ref"].rpartition("/")[2]]
            definition["required"] = sorted({"type", *definition.get("required", [])})
    by_name = [references[model, "validation"] for model in codecs.values()]
    codec = {"anyOf": [{"enum": list(codecs)}, _one_of(by_name)]}
    for definition in definitions.values():
        for name, wanted in definition.get("properties", {}).items():
            if str(wanted.get("$ref", "")).endswith("/CodecSettings"):
                wanted = {**codec, "description": wanted.get("description", "")}
            definition["properties"][name] = _with_references(name, wanted)
    root = definitions.pop("Config")
    definitions.pop("CodecSettings", None)
    for section, found in chosen.items():
        items = _one_of([references[model, "validation"] for model in found.values()])
        root["properties"][section] = {
            "type": ["array", "null"],
            "items": items,
            "description": root["properties"][section]["description"],
        }
    definitions["Reference"] = {
        "type": "string",
        "pattern": r"\$\{",
        "description": "A variable or a file: ${NAME}, ${NAME:-default}, ${file:/path}.",
    }
    definitions.pop("DeviceSettings", None)
    definitions.pop("BridgeSettings", None)
    return {"$schema": DIALECT, **root, **whole}


def _one_of(references: list[dict[str, Any]]) -> dict[str, Any]:
    return {"oneOf": references, "discriminator": {"propertyName": "type"}}


def _with_references(name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """A property's schema that also takes `${NAME}`, and for a section nothing at all. A default
    with a unit is shown with it."""
    wanted = wanted.copy()
    kind = wanted.get("x-kind")
    if kind and isinstance(wanted.get("default"), int | float):
        wanted["default"] = _TEXTS[kind](wanted["default"])
    if "$ref" in wanted:
        rest = {key: value for key, value in wanted.items() if key not in ("$ref", "default")}
        return {"anyOf": [{"$ref": wanted["$ref"]}, {"type": "null"}], **rest}
    if name == "type" or wanted.get("type") in ("array", "object"):
        return wanted
    beside = ("default", "description", "title")
    apart = {key: value for key, value in wanted.items() if key in beside}
    form = {key: value for key, value in wanted.items() if key not in beside}
    return {"anyOf": [form, _REFERENCE], **apart}
