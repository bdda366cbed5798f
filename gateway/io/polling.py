"""Ticks: aligned, without drift, and never a burst after a pause."""

import asyncio
import math
from collections.abc import AsyncIterator

_EARLY = 0.001  # a timer may come so much before its time (s)


async def every(interval: float, first: float = 0.0) -> AsyncIterator[int]:
    """A tick after `first` seconds and then each `interval` seconds on one grid of monotonic
    time; each gives how many ticks were missed since the last one because whoever takes them was
    busy. Raises ValueError if `interval` is not above 0."""
    if not interval > 0:
        raise ValueError(f"interval of {interval} s")
    await asyncio.sleep(first)
    loop = asyncio.get_running_loop()
    begin, number = loop.time(), 0
    while True:
        due = int((loop.time() - begin) / interval)
        missed = max(due - number, 0)
        number = max(due, number)
        yield missed
        number += 1
        await asyncio.sleep(max(begin + number * interval - loop.time(), 0))


def next_second() -> float:
    """When the loop's clock comes to its next whole second (s): whoever looks once a second looks
    then, since waking the processor up costs more than most of what they do."""
    return math.floor(asyncio.get_running_loop().time() + _EARLY) + 1.0


async def second() -> None:
    """Wait for that."""
    await asyncio.sleep(next_second() - asyncio.get_running_loop().time())
