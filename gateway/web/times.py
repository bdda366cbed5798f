"""Times as users write them in queries: ISO 8601, epoch ms, or relative to now."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.core.settings import parse_duration

LATEST = 4_102_444_800_000
"""2100-01-01 in epoch ms. Nanoseconds of later times would soon not fit 64 bits."""
_RELATIVE = re.compile(r"-(\d+(?:\.\d+)?(?:ms|s|m|h|d))", re.ASCII)
_EPOCH = re.compile(r"\d{1,13}", re.ASCII)
_LOST_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")
_EXPECTED = "ISO 8601, epoch ms, now, or a time ago such as -24h"


def parse_time(text: Any, now: float | None = None) -> int:
    """`2026-11-20T22:00:00Z`, `1795212000000`, `now` or `-24h` to ns since the epoch.

    ISO times without an offset are UTC. now: epoch seconds, for relative times.
    Raises PydanticCustomError (a ValueError).
    """
    whole = isinstance(text, float) and text.is_integer()  # JSON's 1795212000000.0
    word = str(int(text) if whole else text).strip()
    present = round((time.time() if now is None else now) * 1000)
    if word == "now":
        return present * 1_000_000
    if relative := _RELATIVE.fullmatch(word):
        return max(present - round(parse_duration(relative[1]) * 1000), 0) * 1_000_000
    if _EPOCH.fullmatch(word):
        return _epoch(int(word)) * 1_000_000
    return min(max(_iso(word), 0), LATEST) * 1_000_000


def _iso(word: str) -> int:
    # "+02:00" in a URL that was not quoted arrives as " 02:00".
    word = _LOST_PLUS.sub(r"\1+\2", word.replace("t", "T"))
    try:
        moment = datetime.fromisoformat(word)
    except ValueError as error:
        raise PydanticCustomError("time", "not a time; expected {e}", {"e": _EXPECTED}) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _epoch(ms: int) -> int:
    if ms > LATEST:  # not clamped as other times are: this is a number in another unit
        raise PydanticCustomError("time", "not epoch ms: that is after 2100")
    return ms


Time = Annotated[
    int,
    BeforeValidator(parse_time),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time", "description": "ISO 8601"},
                {"type": "integer", "minimum": 0, "maximum": LATEST, "description": "epoch ms"},
                {
                    "type": "string",
                    "pattern": r"^([0-9]{1,12}|[0-3][0-9]{12})$",
                    "description": "epoch ms, as text",
                },
                {
                    "type": "string",
                    "pattern": r"^(now|-[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d))$",
                    "description": "now, or a time ago",
                },
            ]
        }
    ),
]
"""ns since the epoch, written as `parse_time` reads it."""
