"""YAML to plain data, with the place of everything, and without YAML 1.1's traps.

Scalars follow the core schema of YAML 1.2.2 (section 10.3): only `true` and `false` are booleans,
so `NO` stays Norway; `12:30:00` and dates stay text; `1e3` is a number. `017`, which is 15 to some
and 17 to others, is refused. Keys may not repeat.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.config.problems import InvalidConfig, Problem

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 40

Place = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False}
_CONTROL = re.compile(r"[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands; line and column from 1."""

    line: int
    column: int
    width: int


@dataclass(slots=True)
class Source:
    """A configuration file as read. values, keys: the place of each value and each key."""

    file: str = ""
    lines: list[str] = field(default_factory=list)
    data: Any = None
    values: dict[Place, Mark] = field(default_factory=dict)
    keys: dict[Place, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(
        self, place: Place, message: str, *, key: bool = False, hint: str = "", fix: str = ""
    ) -> Problem:
        """A problem at the value (or the key) at `place`, or at the nearest thing around it."""
        mark = self.keys.get(place) if key else None
        at = place
        while mark is None:
            mark = self.values.get(at) or self.keys.get(at)
            if mark is None and not at:
                mark = Mark(0, 0, 1)
            at = at[:-1]
        return self.at(mark, message, path=dotted(place), hint=hint, fix=fix)

    def at(
        self, mark: Mark, message: str, *, path: str = "", hint: str = "", fix: str = ""
    ) -> Problem:
        """A problem at a mark."""
        text = self.lines[mark.line - 1] if 0 < mark.line <= len(self.lines) else ""
        return Problem(
            message, self.file, mark.line, mark.column, path, text, mark.width, hint, fix
        )


def dotted(place: Place) -> str:
    """`devices.0.topics` for people."""
    return ".".join(map(str, place))


def read(path: Path, substitute: Callable[[str], str]) -> Source:
    """The file's data. `substitute` is applied to text values and raises ValueError.

    Raises InvalidConfig where there is no data to go on with; what else is wrong is in
    `problems`.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidConfig([Problem(f"cannot read it: {error.strerror}", str(path))]) from error
    if len(raw) > MAX_BYTES:
        raise InvalidConfig([Problem(f"larger than {MAX_BYTES:,} bytes", str(path))])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidConfig(
            [Problem("not UTF-8", str(path), line, 1, fix="save the file as UTF-8")]
        ) from error
    return parse(text, str(path), substitute)


def parse(text: str, file: str, substitute: Callable[[str], str]) -> Source:
    """As `read`, of text."""
    source = Source(file, text.splitlines())
    bad = _CONTROL.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - (text.rfind("\n", 0, bad.start()) + 1) + 1
        raise InvalidConfig(
            [source.at(Mark(line, column, 1), "a character that YAML does not allow")]
        )
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidConfig([_syntax(source, error)]) from error
    except RecursionError as error:
        raise InvalidConfig([Problem("nested too deep", file)]) from error
    if node is not None:
        source.data = _Builder(source, substitute).build(node, ())
    return source


def _syntax(source: Source, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    message = getattr(error, "problem", None) or str(error).splitlines()[0]
    line = source.lines[mark.line] if mark is not None and mark.line < len(source.lines) else ""
    fix = "indent with spaces, not tabs" if "\t" in line else ""
    place = Mark(mark.line + 1, mark.column + 1, 1) if mark is not None else Mark(0, 0, 1)
    return source.at(place, f"not YAML: {message}", fix=fix)


class _Builder:
    """Makes data of nodes and notes where it stands."""

    def __init__(self, source: Source, substitute: Callable[[str], str]) -> None:
        self._source = source
        self._substitute = substitute
        self._nodes = 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        """The node's data."""
        self._nodes += 1
        if self._nodes > MAX_NODES or len(place) > MAX_DEPTH:
            # Aliases of aliases grow without end ("billion laughs").
            problem = self._source.at(_mark(node), "too large, or nested too deep")
            raise InvalidConfig([*self._source.problems, problem])
        self._source.values[place] = _mark(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, n)) for n, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(_mark(key), "a key must be a word", place)
                continue
            name = str(key.value)
            if name in data:
                first = self._source.keys[(*place, name)].line
                self._report(
                    _mark(key), f'"{name}" is here twice', (*place, name),
                    hint=f"first on line {first}", fix="keep one of them",
                )  # fmt: skip
                continue
            self._source.keys[(*place, name)] = _mark(key)
            data[name] = self.build(value, (*place, name))
        return data

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        text = str(node.value)
        if "$" in text:
            try:
                replaced = self._substitute(text)
            except ValueError as error:
                message, _, fix = str(error).partition("\n")
                self._report(_mark(node), message, place, fix=fix)
                return None
            # Left as text: the model that wants a number makes one of it, and a token that looks
            # like a number stays a token.
            return replaced
        if getattr(node, "style", None) is not None:
            return text
        if _LEADING_ZERO.fullmatch(text):
            decimal = int(text)
            self._report(
                _mark(node), f'"{text}" is octal to some and decimal to others', place,
                fix=f'{decimal} for the number, or "{text}" for text',
            )  # fmt: skip
            return decimal
        return plain(text)

    def _report(
        self, mark: Mark, message: str, place: Place, *, hint: str = "", fix: str = ""
    ) -> None:
        self._source.problems.append(
            self._source.at(mark, message, path=dotted(place), hint=hint, fix=fix)
        )


def plain(text: str) -> Any:
    """A scalar without quotes, by the core schema of YAML 1.2.2."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _mark(node: yaml.Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if end.line == start.line else 1
    if not isinstance(node, yaml.ScalarNode):
        width = 1
    return Mark(start.line + 1, start.column + 1, max(width, 1))
