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
from yaml.composer import ComposerError

from gateway.config.privacy import is_channel, is_secret, leaks, masked
from gateway.config.problems import InvalidConfig, Problem
from gateway.config.scalars import hide_references, is_ambiguous, plain, show_references
from gateway.config.substitute import is_reference

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 40

Place = tuple[str | int, ...]

_CONTROL = re.compile(r"[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands; line and column from 1."""

    line: int
    column: int
    width: int


@dataclass(frozen=True, slots=True)
class Private:
    """A value that no message may show. reference: what to call it; whole: it was one reference
    and nothing else."""

    reference: str
    text: str
    whole: bool = False


@dataclass(slots=True)
class Source:
    """A configuration file as read. values, keys: the place of each value and each key. private:
    values that were put in for references, and those of keys that hold secrets."""

    file: str = ""
    lines: list[str] = field(default_factory=list)
    data: Any = None
    values: dict[Place, Mark] = field(default_factory=dict)
    keys: dict[Place, Mark] = field(default_factory=dict)
    private: dict[Place, Private] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(
        self, place: Place, message: str, *, key: bool = False, hint: str = "", fix: str = ""
    ) -> Problem:
        """A problem at the value (or the key) at `place`, or at the nearest thing around it.
        What is private does not show in it; a problem of the key itself has nothing of values."""
        mark = self.keys.get(place) if key else None
        at = place
        while mark is None:
            mark = self.values.get(at) or self.keys.get(at)
            if mark is None and not at:
                mark = Mark(0, 0, 1)
            at = at[:-1]
        for value in () if key else self.private_near(place):
            message = _without(value, message) or f"{value.reference} cannot be used here"
            hint, fix = _without(value, hint), _without(value, fix)
        return self.at(mark, message, path=dotted(place), hint=hint, fix=fix)

    def private_near(self, place: Place) -> list[Private]:
        """What is private at `place`, in what it holds, and in what holds it."""
        return [
            value
            for at, value in self.private.items()
            if at[: len(place)] == place or place[: len(at)] == at
        ]

    def at(
        self, mark: Mark, message: str, *, path: str = "", hint: str = "", fix: str = ""
    ) -> Problem:
        """A problem at a mark."""
        text = masked(self.lines[mark.line - 1]) if 0 < mark.line <= len(self.lines) else ""
        return Problem(
            message, self.file, mark.line, mark.column, path, text, mark.width, hint, fix
        )


def _without(value: Private, text: str) -> str:
    """`text` with the value's reference in its stead; nothing, if part of it still shows."""
    replaced = text.replace(f'"{value.text}"', f'"{value.reference}"')
    return "" if leaks(replaced.replace(value.reference, ""), value.text) else replaced


def dotted(place: Place) -> str:
    """`devices.0.topics` for people."""
    return ".".join(map(str, place))


def read(path: Path, substitute: Callable[[str], str]) -> Source:
    """The file's data. `substitute` is applied to text values and raises ValueError.

    Raises InvalidConfig where there is no data to go on with; what else is wrong is in
    `problems`.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # no more: it may be a device that never ends
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = "name a file that berrygate may read"
        raise InvalidConfig([Problem(f"cannot read it: {reason}", str(path), fix=fix)]) from error
    if len(raw) > MAX_BYTES:
        fix = "take out what is not configuration"
        raise InvalidConfig([Problem(f"larger than {MAX_BYTES:,} bytes", str(path), fix=fix)])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source = Source(str(path), raw.decode("utf-8", "replace").splitlines())
        mark = _end_of(raw[: error.start].decode("utf-8-sig", "replace"))
        problem = source.at(mark, "not UTF-8", fix="save the file as UTF-8")
        raise InvalidConfig([problem]) from error
    return parse(text, str(path), substitute)


def parse(text: str, file: str, substitute: Callable[[str], str]) -> Source:
    """As `read`, of text."""
    source = Source(file, text.splitlines())
    bad = _CONTROL.search(text)
    if bad:
        mark = _end_of(text[: bad.start()])
        message = f"a character that YAML does not allow (U+{ord(bad[0]):04X})"
        raise InvalidConfig([source.at(mark, message, fix="take it out")])
    try:
        node = yaml.compose(hide_references(text), Loader=_Loader)
    except yaml.YAMLError as error:
        raise InvalidConfig([_syntax(source, error)]) from None
    if node is not None:
        source.data = _Builder(source, substitute).build(node, ())
    return source


def _end_of(text: str) -> Mark:
    """The place right after `text`."""
    lines = f"{text}.".splitlines()
    return Mark(len(lines), len(lines[-1]), 1)


_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes a third of the time


class _Loader(_Fastest):  # type: ignore[misc]
    """Nodes as they are written: a node's tag is "" unless the file gives it one."""

    _depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, parent: yaml.Node | None, index: Any) -> None:
        # Both composers call this for each node. libyaml's recurses in C: "[[[[…" would end the
        # process, not raise.
        self._depth += 1
        if self._depth > MAX_DEPTH and parent is not None:
            raise ComposerError(None, None, "nested too deep", parent.start_mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


def _syntax(source: Source, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Problem(f"not YAML: {str(error).splitlines()[0]}", source.file)
    begun = getattr(error, "context_mark", None)
    hint = ""
    if begun is not None and begun.line != mark.line:
        hint = f"{getattr(error, 'context', None)} on line {begun.line + 1}"
    # An end of file that came too soon is shown on the last line there is.
    number = min(mark.line, max(len(source.lines) - 1, 0))
    line = source.lines[number] if source.lines else ""
    column = mark.column if number == mark.line else len(line)
    message = f"not YAML: {getattr(error, 'problem', None)}"
    indented = line[: len(line) - len(line.lstrip())]
    fix = "indent with spaces, not tabs" if "\t" in indented else ""
    if not fix and "mapping values are not allowed" in message:
        fix = "put text that holds `: ` in quotes, and let keys of one level begin in one column"
    return source.at(Mark(number + 1, column + 1, 1), message, hint=hint, fix=fix)


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
            problem = self._source.at(
                _mark(node), "too large, or nested too deep", fix="use fewer aliases (*name)"
            )
            raise InvalidConfig([*self._source.problems, problem])
        self._source.values[place] = _mark(node)
        if node.tag and node.tag != _TEXT_TAG:
            self._report(_mark(node), "a tag has no meaning here", place, fix="leave out the !tag")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, n)) for n, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                fix = "put text that begins with { or [ in quotes"
                self._report(_mark(key), "a key must be a word", place, fix=fix)
                continue
            name = show_references(key.value)
            if name == "<<" and not key.style:
                fix = "write the keys out"
                self._report(_mark(key), '"<<" is not of YAML 1.2', (*place, name), fix=fix)
                continue
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

    def _scalar(self, node: Any, place: Place) -> Any:
        text = show_references(node.value)
        if text and place and is_secret(str(place[-1])):
            self._source.private[place] = Private("***", text)
        if text and is_channel(place):  # which service it is may be said
            self._source.private[place] = Private("***", text.partition("://")[2] or text)
        if "${" in text:
            return self._substituted(node, text, place)
        if node.style or node.tag:
            return text
        if is_ambiguous(text):
            digits = text.lstrip("+-0") or "0"
            self._report(
                _mark(node), f'"{text}" is octal to some and decimal to others', place,
                fix=f'{digits} for the number, or "{text}" for text',
            )  # fmt: skip
            return None
        return plain(text)

    def _substituted(self, node: yaml.Node, text: str, place: Place) -> str | None:
        try:
            replaced = self._substitute(text)
        except ValueError as error:
            message, _, fix = str(error).partition("\n")
            self._report(_mark(node), message, place, fix=fix)
            return None
        self._source.private[place] = Private(text, replaced, is_reference(text))
        # Left as text: a token that looks like a number stays a token. Where a model wants a
        # number, load.py makes one of it.
        return replaced

    def _report(
        self, mark: Mark, message: str, place: Place, *, hint: str = "", fix: str = ""
    ) -> None:
        found = self._source.at(mark, message, path=dotted(place), hint=hint, fix=fix)
        self._source.problems.append(found)


def _mark(node: yaml.Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if end.line == start.line else 1
    if not isinstance(node, yaml.ScalarNode):
        width = 1
    return Mark(start.line + 1, start.column + 1, max(width, 1))
