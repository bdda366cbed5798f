"""Ticks for drivers that sample: aligned, without drift, and never a burst after a pause."""

import asyncio
from collections.abc import AsyncIterator


async def every(interval: float) -> AsyncIterator[int]:
    """A tick now and then each `interval` seconds on one grid; each gives how many ticks were
    missed since the last one because whoever takes them was busy."""
    loop = asyncio.get_running_loop()
    begin, number = loop.time(), 0
    while True:
        due = int((loop.time() - begin) / interval)
        missed = max(due - number, 0)
        number = max(due, number)
        yield missed
        number += 1
        await asyncio.sleep(max(begin + number * interval - loop.time(), 0))
