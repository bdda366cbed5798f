"""The next endpoint: a write that one endpoint did not take goes to another one at once.

Each try counts as an attempt (`attempts` of the error that is raised in the end), and passes the
health stage by itself, so that what failed on the way is seen.
"""

from typing import Any

from gateway.core.contracts import Batch, Send
from gateway.core.errors import Denied, Unavailable
from gateway.stages.breaker import BreakerOpen
from gateway.stages.places import Exhausted
from gateway.stages.pool import Pool


class NextEndpoint:
    """The stage between retry and health of a bridge. Does nothing where there is one endpoint."""

    def __init__(self, pool: Pool[Any]) -> None:
        self._pool = pool

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send, with as many endpoints as there are. Raises what the last one said."""
        for attempt in range(1, len(self._pool.endpoints) + 1):
            try:
                await send(batch)
            except (BreakerOpen, Exhausted):
                raise
            except (Unavailable, Denied) as error:
                error.attempts = attempt
                if attempt == len(self._pool.endpoints) or not self._pool.elsewhere():
                    raise
            else:
                return
