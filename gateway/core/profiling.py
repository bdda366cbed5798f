"""Times any operation, for drivers and whoever else wants to know where time goes.

    @profiled("scale:read")
    async def read(self) -> bytes: ...

    with measure("scale:parse", records=len(lines)):
        ...

What is timed shows up among the stages of `berrygate top`, under `performance` and in `/metrics`.
Name a few operations, not one for each device: every name is a series of its own. Where nobody
listens, as in a driver's own tests, nothing is kept.
"""

import inspect
import time
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Observe(Protocol):
    """Takes what was timed; from any thread, and cheap."""

    def __call__(self, stage: str, seconds: float, records: int = 1) -> None: ...


def _nobody(stage: str, seconds: float, records: int = 1) -> None:
    """Nobody listens."""


_observe: list[Observe] = [_nobody]


def report_to(observe: Observe | None) -> None:
    """Tell this one from now on; None: nobody."""
    _observe[0] = observe or _nobody


class measure:
    """A context, also around `await`: what is inside is timed, also when it raises. records: how
    many went through together; it may be set until the end. observe: who is told; None: whoever
    was given to `report_to`."""

    __slots__ = ("_began", "_name", "_observe", "records")

    def __init__(self, name: str, records: int = 1, observe: Observe | None = None) -> None:
        self._name = name
        self._observe = observe
        self.records = records

    def __enter__(self) -> "measure":
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        observe = self._observe or _observe[0]
        observe(self._name, time.perf_counter() - self._began, self.records)


def profiled(name: str, observe: Observe | None = None) -> Callable[[F], F]:
    """A decorator: each call is timed until it returns, of an async function until it is done.
    observe: as for `measure`."""

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def later(*args: Any, **kwargs: Any) -> Any:
                with measure(name, observe=observe):
                    return await function(*args, **kwargs)

            return cast(F, later)

        @wraps(function)
        def now(*args: Any, **kwargs: Any) -> Any:
            with measure(name, observe=observe):
                return function(*args, **kwargs)

        return cast(F, now)

    return decorate
