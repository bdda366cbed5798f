"""How the checks say what is wrong, call what an author gave them, and wait."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

Does = Callable[[], Any]
"""Something that the author of a driver has done: a function, which may block, or a coroutine
function, which must not."""

_LOOK = 0.02


class Unfit(AssertionError):
    """A driver does not do what the gateway relies on. fix: what its author is to change."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n fix: {fix}")
        self.fix = fix


def unfit(what: str, fix: str) -> NoReturn:
    """Raises Unfit."""
    raise Unfit(what, fix)


async def do(function: Callable[[], T | Awaitable[T]]) -> T:
    """Call what the author gave; in a thread where it could block the event loop."""
    if inspect.iscoroutinefunction(function):
        found: T = await function()
        return found
    result = await asyncio.to_thread(function)
    return await result if inspect.isawaitable(result) else result


async def comes_true(condition: Callable[[], bool], patience: float) -> bool:
    """Whether it does, within `patience` seconds."""
    deadline = asyncio.get_running_loop().time() + patience
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_LOOK)  # several things decide
    return True
