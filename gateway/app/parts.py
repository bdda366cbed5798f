"""The running parts of a gateway by name: begun one by one, ended one by one."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from gateway.core.errors import ConfigError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Parts:
    """stop: set when the gateway is to end. failure: why, where one of its parts failed: a
    gateway without one of its parts is worse than one that is started again."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.failure: BaseException | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._contexts: dict[str, AbstractAsyncContextManager[Any]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin a part that is to run until it is ended, or that may come to its own end."""
        assert name not in self._tasks, name
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks[name] = task

    async def enter(self, name: str, context: AbstractAsyncContextManager[T]) -> T:
        """Begin a part that is there once this returns. Raises what it raises."""
        assert name not in self._contexts, name
        entered = await context.__aenter__()
        self._contexts[name] = context
        return entered

    def __contains__(self, name: str) -> bool:
        return name in self._tasks or name in self._contexts

    def names(self, prefix: str) -> list[str]:
        """The parts there are whose names begin so."""
        return [name for name in (*self._tasks, *self._contexts) if name.startswith(prefix)]

    async def end(self, *names: str) -> None:
        """End these parts, those that are there; their tasks side by side."""
        tasks = [task for name in names if (task := self._tasks.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            context = self._contexts.pop(name, None)
            if context is not None:
                await context.__aexit__(None, None, None)

    async def end_all(self) -> None:
        """End every part: all tasks, then what was entered, the last one first."""
        await self.end(*self._tasks)
        await self.end(*reversed(self._contexts))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(task.get_name(), error)

    def fail(self, name: str, error: BaseException) -> None:
        """The gateway ends, for a part of it has failed."""
        if self.stop.is_set():
            return
        self.failure = error
        if not isinstance(error, ConfigError):
            log.critical("%s failed", name, exc_info=error)
        self.stop.set()


async def until(task: asyncio.Task[None]) -> None:
    """As long as another task; ends as it ends."""
    await asyncio.wait([task])
    task.result()
