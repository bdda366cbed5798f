"""The drivers of docs/howto/write-a-driver.md, installed as its reader would."""

import linecache
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import registry
from gateway.core import descriptions

PAGE = Path(__file__).parents[2] / "docs/howto/write-a-driver.md"
_PIECE = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files(section: str) -> dict[str, str]:
    """What a section of the page has the reader write, by name."""
    text = PAGE.read_text()
    begin = text.index(f"\n## {section}\n")
    end = text.find("\n## ", begin + 1)
    return dict(_PIECE.findall(text[begin:end]))


def install(directory: Path, given: dict[str, str]) -> None:
    """Lay files down, and register them as `pip install -e .` does."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in given.items():
        (directory / name).write_text(text)
    project = tomllib.loads(given["pyproject.toml"])["project"]
    name, version = project["name"], project["version"]
    info = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata)
    entries = [
        line
        for group, values in project.get("entry-points", {}).items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in values.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(entries))


@contextmanager
def importable(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is installed there can be had in this process, as long as this lasts."""
    monkeypatch.syspath_prepend(str(directory))
    registry._installed.cache_clear()
    descriptions._texts.cache_clear()  # another driver of that name may have been there
    linecache.clearcache()
    names = [path.stem for path in directory.glob("*.py")]
    try:
        yield
    finally:
        registry._installed.cache_clear()
        for name in names:
            sys.modules.pop(name, None)
