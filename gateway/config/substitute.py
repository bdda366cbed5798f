"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in values; `$${` is a plain `${`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def substitution(environment: Mapping[str, str], directory: Path) -> Callable[[str], str]:
    """A function that replaces references in text. Relative files begin at `directory`.

    It raises ValueError with a message and, on a second line, what to do. What was put in never
    appears in a message.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        inner = match[1]
        if not match[0].endswith("}"):
            raise ValueError('"${" without "}"\nclose it, or write $${ for a plain ${')
        if inner.startswith("file:"):
            return _file(directory / inner.removeprefix("file:"))
        name, separator, default = inner.partition(":-")
        if not _NAME.fullmatch(name):
            raise ValueError(f'"${{{inner}}}" names no variable\nwrite ${{NAME}}')
        if name in environment and (environment[name] or not separator):
            return environment[name]
        if separator:
            return default
        raise ValueError(
            f"environment variable {name} is not set\nset it, or write ${{{name}:-default}}"
        )

    return lambda text: _REFERENCE.sub(replace, text)


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"{path}: {reason}\nmake the file readable for berrygate") from error
