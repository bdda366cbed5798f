"""What is wrong with a configuration, said so that it can be mended at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. line, column: from 1; 0 where there is no place. width: how many
    characters are meant. path: the key's dotted path. hint: beside the marks; fix: what to do."""

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


def render(problems: Sequence[Problem]) -> str:
    """One block a problem, and how many there are."""
    count = len(problems)
    end = f"{count} error{'s' if count != 1 else ''}."
    return "\n".join([*(_block(problem) for problem in problems), end])


def _block(problem: Problem) -> str:
    lines = [f"error: {problem.message}"]
    where = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    place = "   ".join(filter(None, [where, problem.path]))
    if place:
        lines.append(f"  --> {place}")
    if problem.line and problem.source:
        number = f"{problem.line:2d}"
        blank = " " * len(number)
        marks = " " * (problem.column - 1) + "^" * max(problem.width, 1)
        lines += [f"{blank} |", f"{number} | {problem.source}"]
        lines.append(f"{blank} | {marks} {problem.hint}".rstrip())
    if problem.fix:
        lines.append(f" fix: {problem.fix}")
    return "\n".join(lines) + "\n"
