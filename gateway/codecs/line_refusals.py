"""Which lines of a body an InfluxDB has refused, and why, as far as its answer tells.

Sources: InfluxData's API references of InfluxDB 1 (/write), 2 (/api/v2/write) and 3; the answers
of influxd 1.6.7. A partial write has taken every line that is not to blame; any other refusal
has taken none.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_QUOTE = "unable to parse '"
_LINE_NUMBER = re.compile(r"\bline (\d+)\b")
_DROPPED = re.compile(r"\bdropped=(\d+)\b")
_CONFLICT = re.compile(
    r'input field "(?P<field>.*?)" on measurement "(?P<measurement>.*?)" is type (?P<type>\w+), '
    r"already exists as type \w+"
)
_MOST = 300  # characters of a message that are kept

Conflicting = Callable[[str, str, str], Sequence[int]]
"""Places of the lines whose measurement has a field of a type (float, integer, string, boolean)."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """What an answer tells. reasons: by place of the line in the body; empty where it does not
    name them. rest_taken: the other lines were written."""

    reasons: Mapping[int, str]
    rest_taken: bool


def said(text: str) -> str:
    """An answer's message, for people."""
    return _message(text)[:_MOST]


def refusals(text: str, lines: Sequence[str], conflicting: Conflicting) -> Refusals:
    """What `text`, the answer to a body of `lines`, tells of them."""
    message = _message(text)
    partial = "partial write" in text
    found = _quoted(message, lines)
    if partial:
        found = _numbered(text, message, len(lines)) or found or _counted(message, conflicting)
        if not found and _dropped(message) == len(lines):
            found = dict.fromkeys(range(len(lines)), message[:_MOST])
    return Refusals(found, partial and bool(found))


def _numbered(text: str, message: str, count: int) -> dict[int, str]:
    """InfluxDB 3 lists the lines, or gives their numbers."""
    entries = [entry for entry in _entries(text) if isinstance(entry.get("line_number"), int)]
    found = {
        entry["line_number"] - 1: str(entry.get("error_message") or message)[:_MOST]
        for entry in entries
    } or {int(number) - 1: message[:_MOST] for number in _LINE_NUMBER.findall(message)}
    return {place: reason for place, reason in found.items() if 0 <= place < count}


def _quoted(message: str, lines: Sequence[str]) -> dict[int, str]:
    """InfluxDB 1 and 2 quote lines that they cannot parse: unable to parse '<line>': <cause>."""
    known: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        known.setdefault(line, []).append(place)
    found = {}
    for part in message.split(_QUOTE)[1:]:
        end = part.find("': ")
        while end >= 0 and part[:end] not in known:  # a text in the line may hold the same
            end = part.find("': ", end + 1)
        for place in known.get(part[:end], ()) if end >= 0 else ():
            found[place] = "unable to parse: " + part[end + 3 :].split("\n")[0].strip()[:_MOST]
    return found


def _counted(message: str, conflicting: Conflicting) -> dict[int, str]:
    """A type conflict names measurement and field of the first line that has one, and how many
    lines were dropped: if that many have this conflict, it was these."""
    match = _CONFLICT.search(message)
    if match is None:
        return {}
    places = conflicting(match["measurement"], match["field"], match["type"])
    wanted = len(places) == _dropped(message)
    return dict.fromkeys(places, "field type conflict: " + match[0][:_MOST]) if wanted else {}


def _dropped(message: str) -> int:
    found = _DROPPED.search(message)
    return int(found[1]) if found else 0


def _entries(text: str) -> list[dict[str, Any]]:
    try:
        data = json.loads(text).get("data")
    except (ValueError, AttributeError, RecursionError):
        return []
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _message(text: str) -> str:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    if not isinstance(answer, dict):
        return str(answer)
    return str(answer.get("message") or answer.get("error") or text)
