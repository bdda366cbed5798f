"""Drivers by name. Built-in ones register as strangers' do: through entry points, loaded lazily."""

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from typing import Any

from gateway.core.errors import ConfigError

DEVICES, BRIDGES, CODECS = "berrygate.devices", "berrygate.bridges", "berrygate.codecs"
_WORDS = {DEVICES: "device", BRIDGES: "bridge", CODECS: "codec"}
_DISTRIBUTION = "berrygate"


def known(group: str) -> list[str]:
    """The names in a group, without importing anything."""
    return sorted(_entries(group))


def resolve(group: str, name: str) -> type[Any]:
    """The settings class registered as `name`; imports only that driver.

    Raises ConfigError for an unknown name and for a driver whose dependency is not installed.
    """
    entry = _entries(group).get(name)
    word = _WORDS[group]
    if entry is None:
        close = get_close_matches(name, known(group), 1)
        fix = f"type: {close[0]}" if close else f"known are: {', '.join(known(group))}"
        raise ConfigError(f'unknown {word} type "{name}"', fix=fix)
    try:
        found: type[Any] = entry.load()
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(name, error), fix=_install(name, error)) from error
    return found


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _missing(name: str, error: ModuleNotFoundError) -> str:
    return f"'{name}' needs a package that is not installed: {error.name}"


def _install(name: str, error: ModuleNotFoundError) -> str:
    try:
        extras = metadata(_DISTRIBUTION).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        extras = []
    return f"pip install {_DISTRIBUTION}[{name}]" if name in extras else f"install {error.name}"
