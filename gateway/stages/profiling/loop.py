"""What the event loop does: how busy it is, how late, and what held it up.

The selector is where the loop rests, so timing it tells how long it was at work, without looking
at any callback; asyncio's own debug mode costs a multiple. What holds the loop for too long cannot
be asked afterwards: a thread looks in a few times a second, and when the loop has been at one
thing for too long, notes where it is.
"""

import asyncio
import logging
import os
import selectors
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from gateway.stages.profiling.windows import Windows

log = logging.getLogger(__name__)

_LOOK = 0.2  # how often the thread looks in (s)
_RARELY = 1.0  # the same while the loop has nothing to do
_IDLE = 0.01  # less work than this share is nothing to do
_AGAIN = 60.0  # the same culprit is not named in the log more often (s)
_START = 10.0  # a start has much to do: that is no news (s)
_CULPRITS = 50
_NAMED = 5
_STANDARD = (f"{Path(asyncio.__file__).parent.parent}/", "<frozen ")


class WatchedSelector(selectors.DefaultSelector):
    """A selector that keeps account of when the loop rests. at_work_since: when it began what it
    is at now (s, perf_counter), or None while it rests. idle: how long it rested since the start.
    """

    def __init__(self, slow: float) -> None:
        super().__init__()
        self.slow = slow
        self.began = time.perf_counter()
        self.at_work_since: float | None = self.began
        self.idle = 0.0
        self.held = 0.0  # by what took longer than `slow` (s)
        self.held_count = 0
        self.held_recently: deque[tuple[float, float]] = deque(maxlen=100)

    def select(self, timeout: float | None = None) -> Any:
        """Rest until something is to be done."""
        before = time.perf_counter()
        since = self.at_work_since
        self.at_work_since = None
        if since is not None and before - since > self.slow:
            self.held += before - since
            self.held_count += 1
            self.held_recently.append((before, before - since))
        found = super().select(timeout)
        after = time.perf_counter()
        self.idle += after - before
        self.at_work_since = after
        return found


class LoopWatch:
    """See the module. Made and entered in the loop's own thread. lag: how late the loop was for
    what was due."""

    def __init__(self, selector: WatchedSelector) -> None:
        self.lag = Windows()
        self.culprits: Counter[str] = Counter()
        self._selector = selector
        self._loop_thread = threading.get_ident()
        self._last = ""
        self._began = time.monotonic()
        self._named: dict[str, float] = {}
        self._told: float | None = None  # of which piece of work something was noted
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)

    def __enter__(self) -> "LoopWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()

    @property
    def slow(self) -> float:
        """What holds the loop for longer is noted (s)."""
        return self._selector.slow

    @slow.setter
    def slow(self, seconds: float) -> None:
        self._selector.slow = seconds

    def at_work(self) -> float:
        """How long (s) the loop was at work since the start, what it is at now included."""
        return time.perf_counter() - self._selector.began - self._selector.idle

    def held(self) -> float:
        """How long (s) it was held since the start by what took longer than `slow`."""
        return self._selector.held

    @property
    def held_count(self) -> int:
        """How often."""
        return self._selector.held_count

    @property
    def culprit(self) -> str:
        """What was seen last holding it, or ""."""
        return self._last

    def as_dict(self) -> dict[str, Any]:
        """For the API: lag and longest in s, over the last minute; counts since the start."""
        lag = self.lag.last()
        now = time.perf_counter()
        recent = [held for at, held in list(self._selector.held_recently) if now - at < 60.0]
        return {
            "lag_p50": lag.p50 if lag else 0.0,
            "lag_p99": lag.p99 if lag else 0.0,
            "lag_max": lag.longest if lag else 0.0,
            "slow_callbacks": self._selector.held_count,
            "slow_seconds": self._selector.held,
            "slow_recently": len(recent),
            "longest": max(recent, default=0.0),
            "culprits": dict(self.culprits.most_common(_NAMED)),
        }

    # -- the thread -------------------------------------------------------------------------

    def _watch(self) -> None:
        before, worked = time.perf_counter(), self.at_work()
        pause = _LOOK
        while not self._end.wait(pause):
            since = self._selector.at_work_since
            now, work = time.perf_counter(), self.at_work()
            if since is not None and now - since > self._selector.slow and since != self._told:
                self._note(since)
            idle = (work - worked) < _IDLE * (now - before)
            pause = _RARELY if idle else _LOOK
            before, worked = now, work

    def _note(self, since: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or self._selector.at_work_since != since:
            return  # it went on meanwhile: this is somebody else
        self._told = since
        what = self._last = culprit(frame)
        if what in self.culprits or len(self.culprits) < _CULPRITS:
            self.culprits[what] += 1
        now = time.monotonic()
        if now - self._began < _START:
            return
        if now - self._named.get(what, -_AGAIN) >= _AGAIN and len(self._named) <= _CULPRITS:
            self._named[what] = now
            log.warning(
                "the event loop has been held for %.2f s by %s; nothing else gets on meanwhile",
                time.perf_counter() - since,
                what,
            )


def culprit(frame: FrameType) -> str:
    """What runs, for people: the innermost function that is not the standard library's."""
    innermost: FrameType | None = frame
    while innermost is not None:
        code = innermost.f_code
        if not code.co_filename.startswith(_STANDARD) or "site-packages" in code.co_filename:
            path = Path(code.co_filename)
            line = innermost.f_lineno or code.co_firstlineno
            return f"{code.co_qualname} ({path.parent.name}/{path.name}:{line})"
        innermost = innermost.f_back
    return frame.f_code.co_qualname


class Schedule:
    """How long (s) a thread of this process `ran`, and `waited` for a processor while it was ready
    to run, since it began (proc_pid_schedstat(5)); nothing where the kernel does not tell. The file
    is kept open: opening it each time costs ten times what reading it does."""

    def __init__(self, thread: int) -> None:
        try:
            self._file = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def __call__(self) -> Mapping[str, float]:
        """As it is now."""
        try:
            ran, waiting, _ = map(int, os.pread(self._file, 100, 0).split())
        except (OSError, ValueError):
            return {}
        return {"ran": ran / 1e9, "waited": waiting / 1e9}

    def close(self) -> None:
        """Look no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
