"""JSON Schema (draft 2020-12) of the whole configuration, drivers included."""

from typing import Any

from pydantic.json_schema import models_json_schema

from gateway import registry
from gateway.config.models import Config
from gateway.core.errors import ConfigError

_GROUPS = {"devices": registry.DEVICES, "bridges": registry.BRIDGES}


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
    """For editors and checks."""
    chosen = {section: drivers(group) for section, group in _GROUPS.items()}
    codecs = drivers(registry.CODECS)
    models: list[type[Any]] = [
        Config,
        *(m for found in chosen.values() for m in found.values()),
        *codecs.values(),
    ]
    references, whole = models_json_schema(
        [(model, "validation") for model in models], title="Berrygate configuration"
    )
    root = whole["$defs"].pop("Config")
    for section, found in chosen.items():
        root["properties"][section]["items"] = {
            "oneOf": [references[model, "validation"] for model in found.values()]
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, **whole}
