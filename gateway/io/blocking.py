"""Calls that block, in daemon threads, with a time limit.

concurrent.futures waits for its threads when the interpreter exits, however long a sink hangs;
these threads are left behind instead.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 128
"""Most threads of one driver; above twice the most lanes a bridge can have."""

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Blocking:
    """Threads for the calls of one driver: as many as calls at a time, kept for the next.

    A call that runs out of time keeps its thread until it returns; its result is thrown away. A
    peer that sends a byte now and then can keep it so for ever: past MOST no call is made.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[queue.SimpleQueue[_Job]] = []
        self._count = 0

    async def call(self, function: Callable[[], T], timeout: float) -> T:
        """Run `function` in a thread. Raises what it raises, or TimeoutError."""
        if not self._idle and self._count >= MOST:
            raise TimeoutError(f"{self._count} earlier calls have not come back")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        (self._idle.pop() if self._idle else self._thread()).put((function, loop, future))
        async with asyncio.timeout(timeout):
            return await future

    def _thread(self) -> "queue.SimpleQueue[_Job]":
        jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._count += 1
        threading.Thread(target=self._work, args=(jobs,), name=self._name, daemon=True).start()
        return jobs

    def _work(self, jobs: "queue.SimpleQueue[_Job]") -> None:
        while True:
            function, loop, future = jobs.get()
            result: Any = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - handed to the caller
                error = raised
            if not _tell(loop, self._finish, jobs, future, result, error):
                return
            del function, future, result, error  # not kept alive until the next call

    def _finish(
        self,
        jobs: "queue.SimpleQueue[_Job]",
        future: "asyncio.Future[Any]",
        result: Any,
        error: BaseException | None,
    ) -> None:
        self._idle.append(jobs)
        if future.done():
            return  # nobody waits any more
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> bool:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False  # the loop is closed: the program is ending
    return True
