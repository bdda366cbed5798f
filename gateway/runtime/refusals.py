"""What a source's limits refused: counted by limit, and told when it begins."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.core.events import Event, Limited

log = logging.getLogger(__name__)

LIMIT_OF = {
    "rate": "rate",
    "too_many_devices": "devices",
    "too_many_series": "series",
    "too_many_in_all": "total_series",
    "too_large": "payload",
    "topic_too_long": "topic",
}
"""A reason for which something was refused -> the key of `limits` that it is about."""
_QUIET = 60.0  # what is refused again after so long is news again (s)


@dataclass(slots=True)
class Refusals:
    """See the module. counts: frames by limit, since the start."""

    source: str
    emit: Callable[[Event], None]
    counts: Counter[str] = field(default_factory=Counter)
    _last: dict[str, float] = field(default_factory=dict)

    def note(self, reason: str, count: int, example: str) -> None:
        """`count` frames were refused; nothing if that was for no limit. example: a device."""
        limit = LIMIT_OF.get(reason)
        if limit is None:
            return
        self.counts[limit] += count
        now = time.monotonic()
        before = self._last.get(limit)
        self._last[limit] = now
        if before is not None and now - before < _QUIET:
            return
        log.warning(
            "device %s: over limits.%s, first seen at %r; what is over is refused and counted",
            self.source, limit, example,
        )  # fmt: skip
        self.emit(Limited(kind="device", name=self.source, limit=limit, example=example))
