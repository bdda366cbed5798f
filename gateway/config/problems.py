"""What is wrong with a configuration, said so that it can be mended at once."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from gateway.core.errors import ConfigError

SHOWN = 100  # problems that are written out; a file with more has one cause
_WIDEST = 110  # columns of a source line that are shown
_BEFORE = 60  # of these, how many stand before the marks in a longer line
_RED, _BLUE, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[34m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. line, column: from 1; 0 where there is no place. width: how many
    characters are meant. path: the key's dotted path. source: the line in the file, secrets
    masked. hint: beside the marks; fix: what to do."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    source: str = ""
    width: int = 1
    hint: str = ""
    fix: str = ""


class InvalidConfig(ConfigError):
    """A configuration that cannot be used; `problems` has everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(render(problems))
        self.problems = list(problems)


def wants_color(stream: TextIO) -> bool:
    """Whether colour is welcome there: a terminal, and no NO_COLOR (no-color.org)."""
    return not os.environ.get("NO_COLOR") and stream.isatty()


def render(problems: Sequence[Problem], *, color: bool = False) -> str:
    """One block a problem, and how many there are."""
    blocks = [_block(problem, color) for problem in problems[:SHOWN]]
    count = len(problems)
    if count > SHOWN:
        blocks.append(f"… and {count - SHOWN} more.")
    return "\n\n".join(blocks) + f"\n{count} error{'s' if count != 1 else ''}."


def _block(problem: Problem, color: bool) -> str:
    red, blue, bold, plain = (_RED, _BLUE, _BOLD, _PLAIN) if color else ("", "", "", "")
    lines = [f"{red}error{plain}{bold}: {_printable(problem.message)}{plain}"]
    where = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    place = "   ".join(filter(None, [where, problem.path]))
    if place:
        lines.append(f"  {blue}-->{plain} {_printable(place)}")
    if problem.line and problem.source:
        number = f"{problem.line:2d}"
        gutter = f"{blue}{' ' * len(number)} |{plain}"
        text, marks = _marked(problem)
        hint = f" {_printable(problem.hint)}" if problem.hint else ""
        lines += [gutter, f"{blue}{number} |{plain} {text}"]
        lines.append(f"{gutter} {marks[0]}{red}{marks[1]}{hint}{plain}")
    if problem.fix:
        lines.append(f" {bold}fix:{plain} {_printable(problem.fix)}")
    return "\n".join(lines)


def _marked(problem: Problem) -> tuple[str, tuple[str, str]]:
    """The source line, and what goes below it: (the space before the marks, the marks)."""
    at = problem.column - 1
    first = max(at - _BEFORE, 0) if len(problem.source) > _WIDEST else 0
    source = problem.source[first : first + _WIDEST]
    before, meant = source[: at - first], source[at - first : at - first + problem.width]
    lead = "…" if first else ""
    tail = "…" if first + _WIDEST < len(problem.source) else ""
    # A tab below a tab keeps the marks below what they mean.
    space = " " * len(lead) + "".join("\t" if c == "\t" else " " * _columns(c) for c in before)
    marks = "^" * max(sum(map(_columns, meant)), 1)
    return lead + _printable(source, "\t") + tail, (space, marks)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _printable(text: str, allowed: str = "") -> str:
    """Without what a terminal would obey, or would show in another order than it is read."""
    return _CONTROL.sub(
        lambda found: found[0] if found[0] in allowed else "\N{REPLACEMENT CHARACTER}", text
    )
