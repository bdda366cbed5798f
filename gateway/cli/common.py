"""What all commands share: options, exit codes, and how things look."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

ICONS = {
    "EXCELLENT": "✔",
    "GOOD": "◉",
    "WARNING": "▲",
    "CRITICAL": "⬣",
    "FAILED": "☒",
    "UNKNOWN": "◌",
}
_COLORS = {
    "EXCELLENT": "36",
    "GOOD": "32",
    "WARNING": "33",
    "CRITICAL": "1;31",
    "FAILED": "1;35",
    "UNKNOWN": "2",
    "bad": "1;31",
    "dim": "2",
    "bold": "1",
}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3


class CliError(Exception):
    """Ends the command with a message, a fix where there is one, and an exit code."""

    def __init__(self, message: str, code: Exit, fix: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix


def options() -> argparse.ArgumentParser:
    """The options that every command takes, before or after its action. Their defaults are set by
    the whole parser: set here, those of the action would undo what was given before it."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration; default $BERRYGATE_CONFIG, ./berrygate.yaml, "
        "/etc/berrygate/berrygate.yaml, or the built-in one",
    )
    common.add_argument("--json", action="store_true", help="answer in JSON")
    return common


def complain(message: str, *, fix: str | None = None) -> None:
    """An error, on stderr."""
    print(f"error: {message}", file=sys.stderr)
    if fix:
        print(f" fix: {fix}", file=sys.stderr)


def remark(message: str) -> None:
    """What is to be known, and no error, on stderr."""
    print(f"note: {message}", file=sys.stderr)


def print_json(value: Any) -> None:
    """`value`, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def colored(text: str, look: str) -> str:
    """`text` in the colour of a level (or bad, dim, bold), where stdout shows colours."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if not wanted or os.environ.get("TERM") == "dumb" or look not in _COLORS:
        return text
    return f"\x1b[{_COLORS[look]}m{text}\x1b[0m"


def level(name: str, score: int | None = None) -> str:
    """A level with its icon, word and colour."""
    number = "" if score is None or name == "UNKNOWN" else f" {score}"
    return colored(f"{ICONS.get(name, '')} {name}{number}", name)


def plain(value: Any) -> str:
    """A value for people. What strangers wrote must not command the terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def count(number: Any) -> str:
    """1204 as 1,204."""
    return f"{number:,}" if isinstance(number, int) else "-"


def duration(seconds: float) -> str:
    """3725 as 1h 2m."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    parts = []
    rest = int(seconds)
    for unit, size in _UNITS:
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return " ".join(parts[:2])


def ago(ms: int | None) -> str:
    """How long ago a time (epoch ms) is."""
    return "never" if not ms else f"{duration(max(time.time() - ms / 1000, 0))} ago"


def size(number: float) -> str:
    """4096 as 4.1 kB."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def clock(ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time (epoch ms) in this machine's time zone, with milliseconds."""
    return f"{time.strftime(form, time.localtime(ms / 1000))}.{ms % 1000:03d}"


def table(heads: Sequence[str], rows: Iterable[Sequence[tuple[str, str] | str]]) -> None:
    """Aligned columns. A cell is a text, or (text, look); numbers are the caller's to format."""
    cells = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    columns = zip(*[[(head, "dim") for head in heads], *cells], strict=True)
    widths = [max(len(text) for text, _ in column) for column in columns]
    for row in [[(head, "dim") for head in heads], *cells]:
        padded = [
            colored(text, look) + " " * (width - len(text))
            for (text, look), width in zip(row, widths, strict=True)
        ]
        print("  ".join(padded).rstrip())
