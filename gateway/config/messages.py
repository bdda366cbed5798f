"""What an alert says: a text with `{name}` in it."""

import re
from difflib import get_close_matches
from typing import Any

FIELDS = frozenset(
    ("device", "source", "rule", "metric", "value", "limit", "since", "severity", "gateway", "why")
)
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def check_template(text: str, labels: Any) -> None:
    """Whether a message can be filled in. Raises ValueError."""
    for match in _PLACE.finditer(text):
        if match[0] in ("{{", "}}"):
            continue
        name = match[1]
        if name is None:
            raise ValueError("a brace stands alone")
        if name not in FIELDS and name not in labels:
            close = get_close_matches(name, [*FIELDS, *labels], 1)
            known = f"{{{close[0]}}}" if close else ", ".join(sorted(FIELDS))
            raise ValueError(f"{{{name}}} is nothing that is known; expected {known}")


def filled(text: str, values: dict[str, str]) -> str:
    """A message with each `{name}` replaced; names only, so nothing else of a value can be
    reached. What is not known stays as it is written."""

    def put(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        return values.get(match[1] or "", match[0])

    return _PLACE.sub(put, text)
