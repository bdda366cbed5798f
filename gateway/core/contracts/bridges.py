"""What a sink does, what it may be able to do, and what it is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from gateway.core.contracts.readings import Flag, Reading


@dataclass(slots=True)
class Tally:
    """What became of a batch's readings; each number is counted where it happens."""

    delivered: int = 0
    dead_lettered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """What one lane of a bridge delivers in one attempt: readings in journal order.

    first, end: the half-open range of journal sequences that this batch completes; readings of
    other devices or lanes inside the range are not in it.
    """

    first: int
    end: int
    readings: list[Reading]
    tally: Tally = field(default_factory=Tally)

    def __len__(self) -> int:
        return len(self.readings)

    def part(self, start: int, stop: int) -> "Batch":
        """The same batch, with the readings [start:stop] only; the tally is shared."""
        return Batch(self.first, self.end, self.readings[start:stop], self.tally)

    def leave_out(self, flag: Flag) -> None:
        """Take out what carries a flag, and count it as dropped for that."""
        bit = flag.value
        kept = [reading for reading in self.readings if not reading.flags & bit]
        if len(kept) < len(self.readings):
            self.tally.dropped[str(flag.name).lower()] = len(self.readings) - len(kept)
            self.readings = kept


Conn = TypeVar("Conn")
ConnT = TypeVar("ConnT")


class Bridge(Protocol[ConnT]):
    """A sink. Its author writes `connect` and `send`; queueing, retry, health and pooling
    come from outside."""

    name: str

    def connect(self) -> AbstractAsyncContextManager[ConnT]:
        """A connection, checked as far as that is cheap. Raises Unavailable or Denied."""
        ...

    async def send(self, conn: ConnT, batch: Batch) -> None:
        """Write `batch`; returning means the other side has it.

        Raises Unavailable, Throttled, Denied or Rejected.
        """
        ...


@runtime_checkable
class Endpoints(Protocol):
    """A bridge whose other side has several endpoints: whatever one of them takes, all have. The
    pool spreads the writes over them. endpoints: their names, such as URLs, without secrets."""

    @property
    def endpoints(self) -> Sequence[str]: ...

    def connect(self, endpoint: str = ...) -> AbstractAsyncContextManager[Any]:
        """A connection to that endpoint; to any if none is named. Raises Unavailable or Denied."""
        ...


@runtime_checkable
class PooledByDriver(Protocol):
    """A bridge whose `connect` gives a pool that the driver's library brings (an httpx client, a
    psycopg_pool). It is opened once for each endpoint and lent to as many writes at a time as
    `pool.max` allows; closing what is old or broken is left to it."""

    pooled_by_driver: Literal[True]


@runtime_checkable
class DriverFigures(Protocol):
    """A bridge whose driver's own pool can say what it has."""

    def figures(self, conn: Any) -> Mapping[str, int]:
        """For the status and the API, such as {"connections": 3, "idle": 2}; must not block."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A bridge that must not be given every reading. leaves_out: readings with any of these flags
    (`Flag`) are counted as dropped, with the flag's name in lower case as the reason."""

    leaves_out: Flag


@runtime_checkable
class Checkable(Protocol):
    """A bridge that can be asked whether it may write, without writing anything. The pool asks it
    of connections that nobody has used for a while."""

    async def check(self, conn: Any) -> None:
        """Return if a batch would be let in. Raises Unavailable or Denied."""
        ...


Send = Callable[[Batch], Awaitable[None]]


class Stage(Protocol):
    """A link of the chain around a bridge (see gateway.stages.compose)."""

    async def __call__(self, batch: Batch, send: Send) -> None:
        """Do something before, after or instead of `await send(batch)`."""
        ...
