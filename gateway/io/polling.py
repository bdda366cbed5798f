"""Ticks for drivers that sample: aligned, without drift, and never a burst after a pause."""

import asyncio
from collections.abc import AsyncIterator


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
