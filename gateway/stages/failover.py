"""Where a bridge has not got through for a while, its readings go out through another one, until it
gets through again: each write is tried at its own server first, as often as its breaker allows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.core.contracts import Batch, Send
from gateway.core.errors import BerrygateError, Denied, Rejected, Unavailable, Unknown
from gateway.stages.breaker import BreakerOpen

log = logging.getLogger(__name__)

REASON = "failover"
"""What readings that the other bridge took are counted as in this one's ledger: dropped, for its
own server does not have them."""


class Failover:
    """A stage inside of retry. after: for how long nothing must have got through (s); other: sends
    a batch through the other bridge, and raises what that raises.

    why: what keeps this bridge from its own server while the other one stands in, or "".
    """

    def __init__(self, name: str, after: float, other: Callable[[Batch], Awaitable[None]]) -> None:
        self.why = ""
        self._name = name
        self._after = after
        self._other = other
        self._since: float | None = None  # loop time
        self._cause = ""

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Send, here or there. Raises what the own server raises, or Rejected from the other."""
        try:
            await send(batch)
        except (Unavailable, Denied, Unknown) as error:
            if not isinstance(error, BreakerOpen) or not self._cause:
                self._cause = str(error)  # not that we are waiting because of it
            if not self._due():
                raise
            await self._instead(batch, error)
        except Rejected:
            self._own_again()
            raise
        else:
            self._own_again()

    def _due(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        return now - self._since >= self._after

    async def _instead(self, batch: Batch, error: BerrygateError) -> None:
        try:
            await self._other(batch)
        except Rejected as refused:
            if refused.indices is not None:
                self._took(batch, len(batch) - len(refused.indices))
            raise
        except BerrygateError as away:
            log.debug("bridge %s: the other one is away, too: %s", self._name, away)
            self.why = ""
            raise error from away
        self._took(batch, len(batch))

    def _took(self, batch: Batch, count: int) -> None:
        dropped = batch.tally.dropped
        dropped[REASON] = dropped.get(REASON, 0) + count
        if self._since is None:
            return  # meanwhile another lane got through to the own server
        if not self.why:
            log.warning("bridge %s: %s; its readings go out elsewhere", self._name, self._cause)
        self.why = self._cause

    def _own_again(self) -> None:
        self.why, self._cause, self._since = "", "", None
