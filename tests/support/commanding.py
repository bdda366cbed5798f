"""Commands at work, without a gateway around them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.runtime.commanding import Commanding


@asynccontextmanager
async def at_work(commanding: Commanding) -> AsyncIterator[None]:
    """It runs; in the end it is stopped as the gateway stops it."""
    running = asyncio.create_task(commanding.run())
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
