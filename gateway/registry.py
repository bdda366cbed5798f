"""Drivers by name. Built-in ones register as strangers' do: through entry points, loaded lazily."""

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from typing import Any

from pydantic import ValidationError

from gateway.core.contracts import Codec
from gateway.core.errors import ConfigError
from gateway.core.settings import Settings

DEVICES, BRIDGES, CODECS = "berrygate.devices", "berrygate.bridges", "berrygate.codecs"
_WORDS = {DEVICES: "device", BRIDGES: "bridge", CODECS: "codec"}
_DISTRIBUTION = "berrygate"
_OURS = ("gateway", "devices", "bridges")


def known(group: str) -> list[str]:
    """The names in a group, without importing anything."""
    return sorted(_entries(group))


def resolve(group: str, name: str) -> type[Any]:
    """The settings class registered as `name`; imports only that driver.

    Raises ConfigError for an unknown name, for a driver whose dependency is not installed, and
    for one that cannot be loaded.
    """
    entry = _entries(group).get(name)
    word = _WORDS[group]
    if entry is None:
        names = known(group)
        close = get_close_matches(name, names, 1)
        listed = f" (known: {', '.join(names)})" if names else ""
        fix = f"type: {close[0]}" if close else "use a known one, or install what brings it"
        raise ConfigError(f'unknown {word} type "{name}"{listed}', fix=fix)
    try:
        found: type[Any] = entry.load()
    except ModuleNotFoundError as error:
        raise _missing(word, name, error.name or str(error)) from error
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{word} '{name}' cannot be loaded: {error}", fix=_again(entry)
        ) from error
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise ConfigError(f"{word} '{name}' is not a settings class: {entry.value}")
    return found


def codec(name: str) -> Codec:
    """The codec registered as `name`, with its default settings. Raises ConfigError where it is
    not to be had so."""
    settings = resolve(CODECS, name)
    try:
        found: Codec = settings().build()
    except ValidationError as error:
        raise ConfigError(f"the {name} codec has no defaults", fix=f"codec: {name}") from error
    return found


def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in _installed().select(group=group)}


@cache
def _installed() -> Any:
    """The entry points of all packages; looking for them takes as long for one group as for all."""
    return entry_points()


def _missing(word: str, name: str, module: str) -> ConfigError:
    if module.partition(".")[0] in _OURS:
        message = f"{word} '{name}' is not all there: no module {module}"
        return ConfigError(message, fix=f"install {_DISTRIBUTION} again")
    command = f"pip install {_DISTRIBUTION}[{name}]"
    if name in _extras():
        return ConfigError(f"'{name}' needs: {command}", fix=command)
    return ConfigError(f"'{name}' needs the Python module {module}", fix=f"install {module}")


def _extras() -> list[str]:
    try:
        return metadata(_DISTRIBUTION).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []


def _again(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else entry.value
    return f"install {package} again, in a version that fits"
