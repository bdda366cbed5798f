"""Keeps secrets out of messages: what was put in for a reference, and values of secret keys."""

import re
from collections.abc import Sequence

_SECRET_KEY = re.compile(
    r"(?i)(pass|pwd|token|secret|credential|(api|access|private|shared|account)_?key)(?!.*_file$)"
)
_PAIR = re.compile(
    r"""(?<![\w.-])(?P<key>(?P<name>[\w.-]++)["']?[ \t]*+:[ \t]++)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*+"?|'(?:[^']|'')*+'?|(?:[^\s#]|(?<=\S)\#|[ \t]++(?!\#))++)"""
)
_REFERENCE = re.compile(r"\$\{[^}]*\}")
_FLOW_END = re.compile(r"[,}]")
_CREDENTIALS = re.compile(r"(?P<key>://[^\s/:@]{0,100}:)(?P<value>[^\s@]{1,200}(?=@))")
_SERVICE = re.compile(
    r"""(?i)(?P<key>\b(?:(?!(?:https?|mqtts?|wss?|coaps?|tcp|file|postgres(?:ql)?|rediss?|mongodb):)"""
    r"""[a-z][a-z0-9+.-]{1,20}://|https?://(?=[^\s"']{0,200}hook)))(?P<value>[^\s"',}]{1,2000})"""
)  # where alerts go: tokens stand anywhere in these
_LONGEST = 2_000  # characters; the search takes the square of it at worst
_RUN = 4  # characters in a row that give a secret away


def is_secret(key: str) -> bool:
    """Whether a key of this name holds a secret."""
    return _SECRET_KEY.search(key) is not None


def is_channel(place: Sequence[str | int]) -> bool:
    """Whether what stands at `place` says where alerts go, which is secret as a whole."""
    return len(place) == 4 and place[:2] == ("alerts", "channels") and place[3] == "url"


def masked(line: str) -> str:
    """A line of a configuration file with `*` for each character of a secret; references stay.
    Nothing of a line too long to be looked through."""
    if len(line) > _LONGEST:
        return ""
    parts, at = [], 0
    while match := _PAIR.search(line, at):
        end = match.end("key")
        if is_secret(match["name"]):
            end = _end(line, match)
            value = line[match.end("key") : end]
            shown = value if _REFERENCE.fullmatch(value) else "*" * len(value)
            parts += [line[at : match.end("key")], shown]
        else:
            parts.append(line[at:end])
        at = end
    return _SERVICE.sub(_stars, _CREDENTIALS.sub(_stars, "".join([*parts, line[at:]])))


def _stars(match: re.Match[str]) -> str:
    return match["key"] + "*" * len(match["value"])


def _end(line: str, match: re.Match[str]) -> int:
    """Where the value ends: inside of braces at `,` or `}`, outside at the end of the line."""
    start, end = match.span("value")
    if "{" not in line[: match.start()] or line[start] in "\"'":
        return end
    reference = _REFERENCE.match(line, start, end)
    found = _FLOW_END.search(line, reference.end() if reference else start, end)
    return found.start() if found else end


def leaks(text: str, secret: str) -> bool:
    """Whether `text` shows `secret`, or a telling part of it."""
    text, secret = text.casefold(), secret.casefold()
    if len(secret) < _RUN:
        return bool(secret) and re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", text) is not None
    runs = {text[at : at + _RUN] for at in range(len(text) - _RUN + 1)}
    return any(secret[at : at + _RUN] in runs for at in range(len(secret) - _RUN + 1))
