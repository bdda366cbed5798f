"""The endpoints of one bridge: how each is doing, and which one is used next.

    HEALTHY ──failure──► DEGRADED ──breaker opens──► FAILED
       ▲ ▲                  │ no failure for 30 s      │ ▲
       │ └──────────────────┘        a trial goes well │ │ a failure
       └──── 3 successes ──── RECOVERING ◄─────────────┘ │
                                   └─────────────────────┘

Which one: the least loaded, weighted by latency. Source: "peak EWMA" of Twitter's Finagle
(com.twitter.finagle.loadbalancer.PeakEwma): load = average latency x (calls in flight + 1), where
the average rises to a peak at once and falls slowly. One that just failed is used only when there
is no other; one that is DEGRADED or RECOVERING counts as four times as loaded.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic

from gateway.core.contracts import ConnT
from gateway.core.errors import Throttled
from gateway.stages.breaker import Breaker, BreakerOpen, BreakerState

_DECAY = 10.0  # after so long without another one a peak counts for a third (s), as in Finagle
_UNEASY = 30.0  # how long after a failure an endpoint is DEGRADED (s)
_PROOF = 3  # successes that make a RECOVERING endpoint HEALTHY
_DOUBT = 4.0  # by how much one that is not HEALTHY counts as more loaded
_AGAIN = 5.0  # after so long one that failed is tried although others are there (s)


class EndpointState(StrEnum):
    """See the module. HEALTHY: used. DEGRADED: used, but has failed lately. FAILED: not used (its
    breaker is open). RECOVERING: a trial went well, it must prove itself."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    RECOVERING = "RECOVERING"


@dataclass(slots=True, eq=False)
class Lent(Generic[ConnT]):
    """An open connection and how to close it. Times are monotonic. since: when it came back.
    looked: when it last worked. expires: when it is too old. patience: how long it may idle (s)."""

    conn: ConnT
    closing: AsyncExitStack
    since: float = 0.0
    looked: float = 0.0
    expires: float = math.inf
    patience: float = math.inf


@dataclass(slots=True, eq=False)
class PoolEndpoint(Generic[ConnT]):
    """One place that a bridge can write to, with its connections. The latest one that came back
    is lent first.

    idle: connections nobody uses, the longest unused first. busy: calls in flight. latency: see
    the module (s). failed, ejected: calls that failed, and times that the breaker opened.
    doubted: connections that came back before then are not to be trusted. unanswered: why it did
    not answer when it was last looked at, without need; "" where it did, or a call went well since.
    opening: who opens or looks at what the driver pools; one does it for all.
    """

    name: str
    connect: Callable[[], AbstractAsyncContextManager[ConnT]]
    breaker: Breaker
    alone: bool = True
    idle: list[Lent[ConnT]] = field(default_factory=list)
    busy: int = 0
    latency: float = 0.0
    failed: int = 0
    ejected: int = 0
    last_error: str = ""
    unanswered: str = ""
    doubted: float = -math.inf
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _seen: float = 0.0
    _failed_at: float = -math.inf
    _proof: int = 0

    def state(self, now: float) -> EndpointState:
        """How it is doing."""
        if not self.closed:  # also while a trial is under way, which may take as long as it likes
            return EndpointState.FAILED
        if self._proof:
            return EndpointState.RECOVERING
        uneasy = self.breaker.failed_in_row or now - self._failed_at < _UNEASY
        return EndpointState.DEGRADED if uneasy else EndpointState.HEALTHY

    @property
    def missed(self) -> bool:
        """Whether its last call failed."""
        return self.breaker.failed_in_row > 0

    @property
    def closed(self) -> bool:
        """Whether calls pass its breaker."""
        return self.breaker.state is BreakerState.CLOSED

    def cost(self, now: float) -> tuple[bool, float]:
        """What it would cost to use it: the least is chosen."""
        shun = self.missed and now - self._failed_at < _AGAIN
        load = self.latency * math.exp((self._seen - now) / _DECAY) * (self.busy + 1)
        well = self.state(now) is EndpointState.HEALTHY
        # Calls in flight break the tie of endpoints that have no latency yet.
        return shun, (load + 1e-6 * self.busy) * (1.0 if well else _DOUBT)

    def succeeded(self, now: float, seconds: float) -> None:
        """A call went well. seconds: how long it took."""
        self.unanswered = ""
        if seconds > self.latency:
            self.latency = seconds
        else:
            kept = math.exp((self._seen - now) / _DECAY)
            self.latency = seconds + (self.latency - seconds) * kept
        self._seen = now
        if not self.closed:
            self._proof = _PROOF
        elif self._proof:
            self._proof -= 1
        self.breaker.succeeded()

    def failure(self, now: float, error: BaseException) -> None:
        """A call failed for a reason that lies with the endpoint."""
        was = self.breaker.state
        self.breaker.failed()
        if self._proof and not self.alone:
            self.breaker.trip()  # others are there: it need not fail as often as at first
        self._proof = 0
        self._failed_at = now
        self.failed += 1
        self.last_error = str(error) or type(error).__name__
        if not isinstance(error, Throttled):
            self.doubted = now
        self.ejected += was is not self.breaker.state and not self.closed

    def as_dict(self, now: float) -> dict[str, Any]:
        """For status and the API."""
        return {
            "name": self.name,
            "state": self.state(now).value,
            "breaker": self.breaker.state.value,
            "idle": len(self.idle),
            "busy": self.busy,
            "latency": round(self.latency, 6),
            "failed": self.failed,
            "ejected": self.ejected,
            "last_error": self.last_error or None,
        }


def choose(endpoints: Sequence[PoolEndpoint[ConnT]], now: float) -> PoolEndpoint[ConnT]:
    """The endpoint for the next call, which must be one that its breaker lets pass. Raises
    BreakerOpen."""
    if len(endpoints) == 1:
        endpoints[0].breaker.enter()
        return endpoints[0]
    closed = [each for each in endpoints if each.closed]
    if closed:
        return min(closed, key=lambda each: each.cost(now))
    # All are ejected: whose time has come is tried; if there is none, the soonest says when.
    soonest = min(endpoints, key=lambda each: each.breaker.remaining)
    if len(endpoints) > 1 and soonest.breaker.remaining:
        after = soonest.breaker.remaining
        raise BreakerOpen(f"all {len(endpoints)} endpoints have failed", after=after)
    soonest.breaker.enter()
    return soonest


def longest_idle(
    endpoints: Sequence[PoolEndpoint[ConnT]],
) -> tuple[PoolEndpoint[ConnT], Lent[ConnT]] | None:
    """The connection that nobody has used for the longest time."""
    found = [(each, each.idle[0]) for each in endpoints if each.idle]
    return min(found, key=lambda pair: pair[1].since) if found else None


def all_idle(
    endpoints: Sequence[PoolEndpoint[ConnT]],
) -> Iterator[tuple[PoolEndpoint[ConnT], Lent[ConnT]]]:
    """Every connection that nobody uses."""
    for endpoint in endpoints:
        for lent in tuple(endpoint.idle):
            yield endpoint, lent
