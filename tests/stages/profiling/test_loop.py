"""The event loop is watched from outside: how busy it is, what holds it, and where."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from gateway.stages.profiling import LoopWatch, Schedule, WatchedSelector

SLOW = 0.1


def watched(work: Callable[[LoopWatch], Awaitable[None]]) -> LoopWatch:
    """The watch of a loop that did this."""
    selector = WatchedSelector(SLOW)
    seen: list[LoopWatch] = []

    async def main() -> None:
        with LoopWatch(selector) as watch:
            seen.append(watch)
            await work(watch)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())
    return seen[0]


def ask_the_meter(seconds: float) -> None:
    time.sleep(seconds)


def test_what_holds_it_is_counted_and_named() -> None:
    async def work(watch: LoopWatch) -> None:
        await asyncio.sleep(0.3)  # the thread has looked once, and will again
        ask_the_meter(1.5)

    found = watched(work).as_dict()
    assert found["slow_callbacks"] >= 1
    assert found["longest"] >= 1.4
    assert any("ask_the_meter (profiling/test_loop.py:" in what for what in found["culprits"])


def test_rest_is_not_work() -> None:
    async def work(watch: LoopWatch) -> None:
        before = watch.at_work()
        await asyncio.sleep(1.0)
        rested = watch.at_work() - before
        ask_the_meter(0.5)
        held = watch.at_work() - before
        assert rested < 0.5 <= held

    assert watched(work).held() >= 0.4


def test_nothing_is_said_of_a_loop_that_is_quick() -> None:
    async def work(watch: LoopWatch) -> None:
        for _ in range(100):
            await asyncio.sleep(0.002)

    assert watched(work).culprits == {}


def test_what_the_kernel_tells_of_a_thread() -> None:
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    found = Schedule(threading.get_native_id())()
    assert found is not None
    assert found["ran"] >= 0.05
    assert Schedule(2**22)() == {}
