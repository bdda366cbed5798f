"""Value templates of Home Assistant, as far as devices announce them: a value out of `value` or
`value_json`, reckoned with and filtered. Not Jinja: whatever else is in one is refused, never
guessed at.

    {{ value_json.sensors[0]['t'] | float(0) / 10 }}
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.codecs.reports import MAX_TEXT

_LONGEST = 256
_DEEPEST = 8
_WHOLE = re.compile(r"\s*\{\{-?(.*?)-?\}\}\s*", re.DOTALL)
_PIECE = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_LONGEST_TEXT = 1_024
_MOST_PIECES = 16
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,15}(?:\.\d{1,15})?)|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>[.\[\](),|+*/-]))"
)

Scope = dict[str, Any]
"""`value`, the payload as text; `value_json`, the payload parsed."""
Read = Callable[[Scope], Any]


class UnknownTemplateError(Exception):
    """A template that says what is not understood here."""


class NothingThereError(Exception):
    """The payload has not what the template asks for."""


class Template(NamedTuple):
    """read: the value. Raises NothingThereError. json: whether the payload must be parsed. weight:
    how much work it is, in words and signs."""

    read: Read
    json: bool
    weight: int = 1


def template(text: str) -> Template:
    """What a template says. Raises UnknownTemplateError."""
    whole = _WHOLE.fullmatch(text) if len(text) <= _LONGEST else None
    if whole is None or "{" in whole[1] or "}" in whole[1]:
        raise UnknownTemplateError(text[:_LONGEST])
    tokens = _tokens(text, whole[1])
    parser = _Parser(text, tokens)
    read = parser.sum(0)
    parser.ends()
    return Template(read, "value_json" in whole[1], len(tokens))


def rendered(text: str, value: object) -> str:
    """A text with values in it, such as `{"level": {{ value }} }`, as Home Assistant would write
    it; whole numbers without a point. Raises UnknownTemplateError, NothingThereError."""
    around = _PIECE.split(text.strip())  # texts, and what is between braces at each odd place
    plainly = "".join(around[::2])
    if len(text) > _LONGEST_TEXT or len(around) > 2 * _MOST_PIECES:
        raise UnknownTemplateError(f"longer than {_LONGEST_TEXT} characters")
    if "{%" in plainly or "{#" in plainly or "{{" in plainly or "{{-" in text or "-}}" in text:
        raise UnknownTemplateError(text[:_LONGEST])
    for place, inner in enumerate(around):
        if place % 2:
            made = template(f"{{{{{inner}}}}}")
            if made.json:
                raise UnknownTemplateError(text[:_LONGEST])
            around[place] = written(made.read({"value": value}))
    return "".join(around).strip()


def written(value: object) -> str:
    """A value as a text."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def plain() -> Template:
    """No template at all: the payload itself."""
    return Template(lambda scope: scope["value"], False)


def _tokens(text: str, inner: str) -> list[tuple[str, str]]:
    found, place, inner = [], 0, inner.rstrip()
    while place < len(inner):
        match = _TOKEN.match(inner, place)
        if match is None:
            raise UnknownTemplateError(text)
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        place = match.end()
    return found


class _Parser:
    """Recursive descent; a filter binds closer than an operator, as in Jinja."""

    def __init__(self, text: str, tokens: list[tuple[str, str]]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0

    def ends(self) -> None:
        if self._at < len(self._tokens):
            raise UnknownTemplateError(self._text)

    def _next(self, kind: str = "", *wanted: str) -> str | None:
        """The next token, if it is of that kind and one of these; it is taken then."""
        if self._at < len(self._tokens):
            found, token = self._tokens[self._at]
            if found == kind and (not wanted or token in wanted):
                self._at += 1
                return token
        return None

    def _must(self, kind: str, *wanted: str) -> str:
        token = self._next(kind, *wanted)
        if token is None:
            raise UnknownTemplateError(self._text)
        return token

    def sum(self, depth: int) -> Read:
        left = self._product(depth)
        while sign := self._next("sign", "+", "-"):
            left = _reckoned(left, sign, self._product(depth))
        return left

    def _product(self, depth: int) -> Read:
        left = self._filtered(depth)
        while sign := self._next("sign", "*", "/"):
            left = _reckoned(left, sign, self._filtered(depth))
        return left

    def _filtered(self, depth: int) -> Read:
        read = self._primary(depth)
        while self._next("sign", "|"):
            name = self._must("word", *_FILTERS)
            read = _applied(read, name, self._arguments())
        return read

    def _primary(self, depth: int) -> Read:
        if depth >= _DEEPEST:
            raise UnknownTemplateError(self._text)
        if self._next("sign", "("):
            inner = self.sum(depth + 1)
            self._must("sign", ")")
            return inner
        if self._next("sign", "-"):
            return _reckoned(lambda scope: 0.0, "-", self._filtered(depth + 1))
        literal = self._literal()
        if literal is not None:
            return lambda scope: literal
        name = self._must("word", "value", "value_json", "float", "int")
        if name in ("float", "int"):
            self._must("sign", "(")
            inner = self.sum(depth + 1)
            rest = [self._must_literal()] if self._next("sign", ",") else []
            self._must("sign", ")")
            return _applied(inner, name, rest)
        return self._path(name)

    def _path(self, name: str) -> Read:
        steps: list[str | int] = []
        while name == "value_json":
            if self._next("sign", "["):
                step = self._must_literal()
                self._must("sign", "]")
                steps.append(step if isinstance(step, str) else int(step))
            elif self._next("sign", "."):
                word = self._must("word")
                if word == "get" and self._next("sign", "("):
                    word = str(self._must_literal())
                    self._must("sign", ")")
                steps.append(word)
            else:
                break
        return lambda scope: _walked(scope[name], steps)

    def _arguments(self) -> list[str | float]:
        found: list[str | float] = []
        if self._next("sign", "("):
            while not self._next("sign", ")"):
                found.append(self._must_literal())
                self._next("sign", ",")
        return found

    def _must_literal(self) -> str | float:
        found = self._literal()
        if found is None:
            raise UnknownTemplateError(self._text)
        return found

    def _literal(self) -> str | float | None:
        text = self._next("text")
        if text is not None:
            return text[1:-1]
        number = self._next("number")
        return float(number) if number is not None else None


def _walked(data: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(step, int) and isinstance(data, list) and step < len(data):
            data = data[step]
        elif isinstance(data, dict) and str(step) in data:
            data = data[str(step)]
        else:
            raise NothingThereError
    return data


def _number(data: Any) -> float:
    if isinstance(data, str) and len(data) > MAX_TEXT:
        raise NothingThereError
    try:
        return float(data)
    except (TypeError, ValueError, OverflowError) as error:
        raise NothingThereError from error


def _reckoned(left: Read, sign: str, right: Read) -> Read:
    def read(scope: Scope) -> Any:
        one, other = _number(left(scope)), _number(right(scope))
        if sign == "+":
            return one + other
        if sign == "-":
            return one - other
        if sign == "*":
            return one * other
        if not other:
            raise NothingThereError
        return one / other

    return read


def _applied(read: Read, name: str, given: list[str | float]) -> Read:
    function = _FILTERS[name]
    if name not in ("float", "int", "default", "d"):
        return lambda scope: function(read(scope), *given[:1])

    def with_default(scope: Scope) -> Any:
        try:
            return function(read(scope))
        except NothingThereError:
            if not given:
                raise
            return given[0]

    return with_default


def _rounded(data: Any, digits: str | float = 0.0) -> float:
    if isinstance(digits, str):
        raise NothingThereError
    number = _number(data)
    return round(number, int(digits)) if abs(number) < 1e15 and digits < 20 else number


def _whole(data: Any) -> int:
    number = _number(data)
    if not abs(number) < 1e15:
        raise NothingThereError
    return int(number)


_FILTERS: dict[str, Callable[..., Any]] = {
    "float": _number,
    "int": _whole,
    "round": _rounded,
    "abs": lambda data, *_: abs(_number(data)),
    "lower": lambda data, *_: str(data)[:MAX_TEXT].lower(),
    "upper": lambda data, *_: str(data)[:MAX_TEXT].upper(),
    "trim": lambda data, *_: str(data)[:MAX_TEXT].strip(),
    "string": lambda data, *_: str(data)[:MAX_TEXT],
    "is_defined": lambda data, *_: data,
    "default": lambda data, *_: data,
    "d": lambda data, *_: data,
}
