"""What repeats itself in the log is counted instead of said: a flood would push out what matters,
wear the card, and make systemd's journal drop lines of ours (RateLimitBurst=, journald.conf(5))."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW = 60.0
MOST = 60
"""Records of one kind in a window of so many seconds."""
_KINDS = 1_000


class Limit(logging.Filter):
    """Lets MOST records of one kind pass in a WINDOW; the next one after that says how many were
    left out, as the field `more`. A kind is a logger, a level and a text before its values are put
    in. Debugging is not limited: somebody asked for it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._kinds: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is said. Called under the handler's lock only by one thread at a time."""
        if record.levelno <= logging.DEBUG:
            return True
        kind = (record.name, record.levelno, str(record.msg))
        began, count = self._kinds.pop(kind, (self._now(), 0))
        if self._now() - began >= WINDOW:
            if count > MOST:
                record.more = count - MOST
            began, count = self._now(), 0
        self._kinds[kind] = (began, count + 1)
        while len(self._kinds) > _KINDS:
            self._kinds.popitem(last=False)
        return count < MOST
