"""How far a long command is: one line on a terminal that is written over."""

import sys
import time

from gateway.cli.common import count, size

_EVERY = 0.1  # s between two looks
_ERASE = "\r\x1b[K"


class Progress:
    """Shows `what` there is of something, the bytes, the share that is done, and the rate; only
    where stderr is a terminal, and nothing else is written to it."""

    def __init__(self, what: str, *, wanted: bool = True) -> None:
        self._what = what
        self._wanted = wanted and sys.stderr.isatty()
        self._began = time.monotonic()
        self._shown = 0.0

    def __call__(self, rows: int, written: int, share: float | None) -> None:
        """Show it. share: 0 to 1; None: not known."""
        now = time.monotonic()
        if not self._wanted or now - self._shown < _EVERY:
            return
        self._shown = now
        rate = count(round(rows / max(now - self._began, 0.001)))
        done = "" if share is None else f"  {share:.0%}"
        text = f"{count(rows)} {self._what}  {size(written)}{done}  {rate}/s"
        print(f"{_ERASE}{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print(_ERASE, end="", file=sys.stderr, flush=True)
            self._shown = 0.0
