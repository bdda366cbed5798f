"""A loan of a connection: from the place that is taken to what its end says of the endpoint."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Generic

from gateway.core.contracts import ConnT
from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.stages.endpoints import Lent, choose

if TYPE_CHECKING:
    from gateway.stages.pool import Pool


class Lease(Generic[ConnT]):
    """The context in which a connection is somebody's. Written out, for a generator's context costs
    more than all the rest of a loan."""

    __slots__ = ("_endpoint", "_lent", "_pool", "_since")

    def __init__(self, pool: "Pool[ConnT]") -> None:
        self._pool = pool
        self._lent: Lent[ConnT] | None = None

    async def __aenter__(self) -> ConnT:
        pool = self._pool
        await pool.places.enter()
        try:
            now = time.monotonic()
            endpoint = choose(pool.endpoints, now)
        except BaseException:
            pool.places.leave()
            raise
        self._endpoint = endpoint
        self._since = now
        endpoint.busy += 1
        try:
            lent = self._lent = await pool.take(endpoint)
            if not pool.endpoints[0].alone:
                self._since = time.monotonic()  # what connecting takes is no measure of a call
        except BaseException as error:
            await self._end(error)
            raise
        return lent.conn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            await self._end(error)
            return
        self._well()

    def _well(self) -> None:
        pool, endpoint, lent = self._pool, self._endpoint, self._lent
        now = time.monotonic()
        endpoint.succeeded(now, now - self._since)
        if lent is not None:
            pool.keep(endpoint, lent, now)
        endpoint.busy -= 1
        pool.places.leave()

    async def _end(self, error: BaseException) -> None:
        """The call, or opening its connection, ended in an error."""
        if isinstance(error, Rejected):
            self._well()  # the endpoint is well: it was the batch
            return
        pool, endpoint = self._pool, self._endpoint
        if isinstance(error, Unavailable | Denied | OSError):
            endpoint.failure(time.monotonic(), error)
            reason = "failed"
        else:
            endpoint.breaker.abandoned()
            reason = "cancelled"
        try:
            await pool.discard(self._lent, reason)
        finally:
            endpoint.busy -= 1
            pool.places.leave()
