"""Calls that block, one at a time in a thread: never a second one beside one that hangs."""

import threading
from collections.abc import Callable
from typing import TypeVar

from gateway.core.errors import Unavailable
from gateway.io.blocking import Blocking

T = TypeVar("T")


class Single:
    """See the module. patience: how long a call may take (s). hangs: what is said of one that takes
    longer, and of others until it has come back; fix: what to do then."""

    def __init__(self, name: str, patience: float, hangs: str, fix: str) -> None:
        self._threads = Blocking(name)
        self._patience = patience
        self._hangs, self._fix = hangs, fix
        self._lock = threading.Lock()
        self._at_work = False
        self._last: Callable[[], None] | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Raises what the function raises, and Unavailable where it, or one before, hangs."""
        if self._at_work:
            raise Unavailable(self._hangs, fix=self._fix)
        self._at_work = True

        def guarded() -> T:
            try:
                return function()
            finally:
                self._at_work = False
                self._end()

        try:
            return await self._threads.call(guarded, self._patience)
        except TimeoutError:
            raise Unavailable(self._hangs, fix=self._fix) from None

    async def last(self, function: Callable[[], None]) -> None:
        """Call something once no other call is at work; not waiting for one that is. Raises as
        `run`."""
        self._last = function
        if not self._at_work:
            await self.run(self._end)

    def _end(self) -> None:
        with self._lock:
            function, self._last = self._last, None
        if function is not None:
            function()
