"""A pool at work without the rest of the house."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gateway.core.contracts import Bridge
from gateway.core.settings import BridgeSettings
from gateway.stages.pool import Pool, pool_of
from gateway.stages.upkeep import Upkeep


@asynccontextmanager
async def pooling(bridge: Bridge[Any], **pool: Any) -> AsyncIterator[Pool[Any]]:
    """A pool with its upkeep; retry: its settings. Every place is free in the end."""
    retry = pool.pop("retry", {})
    settings = {"type": "x", "pool": pool, "retry": {"breaker": {"reset": "300ms"}, **retry}}
    async with AsyncExitStack() as stack:
        found = pool_of(bridge, BridgeSettings.model_validate(settings))
        task = asyncio.create_task(Upkeep("test", found).run())
        stack.push_async_callback(found.close)
        stack.push_async_callback(asyncio.wait, [task])
        stack.callback(task.cancel)
        yield found
    assert (found.places.taken, found.busy, found.idle) == (0, 0, 0)


async def until(condition: Callable[[], bool], timeout: float = 20) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)
