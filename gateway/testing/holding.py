"""Whether a driver holds the event loop: then nothing else in the gateway moves.

A thread looks again and again whether the loop has turned since. It counts looks, not seconds, so
that a slow or busy machine is not mistaken for a driver that blocks: that slows both.
"""

import asyncio
import sys
import threading
import time
import traceback
from types import TracebackType

from gateway.testing.verdict import unfit

_EVERY = 0.01
_STUCK = 5  # so many looks in a row at the same turn are more than chance
_MOST = 25  # so many are too many at once
_SHARE = 0.2  # of all looks
_ENOUGH = 50  # looks before a share of them says anything


class Holding:
    """Watches while it is entered; file: the driver's, to name its line."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._turns = self._looks = self._stuck = self._longest = 0
        self._stack: list[traceback.FrameSummary] = []
        self._ended = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="testing", daemon=True
        )

    def __enter__(self) -> "Holding":
        self._turn()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self.judge()

    def judge(self) -> None:
        """Raises Unfit if the loop was held."""
        share = self._stuck / max(self._looks, 1)
        if self._longest < _MOST and (share <= _SHARE or self._looks < _ENOUGH):
            return
        own = [each for each in self._stack if each.filename == self._file] or self._stack
        where = f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}: {own[-1].line}"
        unfit(
            f"the event loop was held ({share:.0%} of the time), by {where}",
            "await instead; put calls that block into gateway.io.blocking.Blocking.call()",
        )

    def _turn(self) -> None:
        self._turns += 1
        if not self._ended.is_set():
            self._loop.call_later(_EVERY / 2, self._turn)

    def _watch(self, ident: int) -> None:
        seen = row = 0
        while not self._ended.is_set():
            time.sleep(_EVERY)
            self._looks += 1
            row = row + 1 if self._turns == seen else 0
            seen = self._turns
            self._stuck += row >= _STUCK
            if row > self._longest:
                self._longest = row
                if row >= _STUCK and (frame := sys._current_frames().get(ident)) is not None:
                    self._stack = list(traceback.extract_stack(frame))
