"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in values; `$${` is a plain `${`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

MAX_FILE = 65_536  # bytes

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE = re.compile(r"\$\{[^}]*\}")


def is_reference(text: str) -> bool:
    """Whether `text` is one reference and nothing else."""
    return _WHOLE.fullmatch(text) is not None


def substitution(environment: Mapping[str, str], directory: Path) -> Callable[[str], str]:
    """A function that replaces references in text. Relative files begin at `directory`.

    It raises ValueError with a message and, on a second line, what to do. What was put in never
    appears in a message, and is not looked at for further references.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        inner = match[1]
        if not match[0].endswith("}"):
            raise ValueError('"${" without "}"\nclose it, or write $${ for a plain ${')
        if "${" in inner:
            raise ValueError("a reference within a reference\nuse one at a time")
        if inner.startswith("file:"):
            return _file(directory, inner.removeprefix("file:"))
        return _variable(environment, inner)

    return lambda text: _REFERENCE.sub(replace, text)


def _variable(environment: Mapping[str, str], inner: str) -> str:
    name, separator, default = inner.partition(":-")
    if not _NAME.fullmatch(name):
        raise ValueError(f'"${{{inner}}}" names no variable\nwrite ${{NAME}}')
    if name in environment and (environment[name] or not separator):
        return environment[name]
    if separator:
        return default
    fix = f"set it, or write ${{{name}:-default}}"
    raise ValueError(f"environment variable {name} is not set\n{fix}")


def _file(directory: Path, name: str) -> str:
    """The file's text without the newline at its end."""
    path = directory / name
    if not name or "\0" in name:
        raise ValueError('"${file:}" names no file\nwrite ${file:/path}')
    try:
        if path.exists() and not path.is_file():
            # Reading a pipe or a device would never end.
            raise ValueError(f"{path}: not a file\nname a file that holds the value")
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"{path}: {reason}\nmake the file readable for berrygate") from error
    if len(raw) > MAX_FILE:
        raise ValueError(
            f"{path}: larger than {MAX_FILE:,} bytes\nname a file that holds the value"
        )
    return text.removesuffix("\n").removesuffix("\r")
