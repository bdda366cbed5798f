"""What may be asked of history; the same over HTTP and over the control socket."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.settings import Duration, Id
from gateway.web.house import House
from gateway.web.times import Time, parse_time

MOST_POINTS = 100_000
MOST_ID = 2**53 - 1  # the largest that every JSON reader takes exactly
Aggregate = Literal["avg", "min", "max", "sum", "count", "last"]


class Params(BaseModel):
    """Base of all parameters: one that is misspelt is an error, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NoParams(Params):
    """For what takes none."""


class DeviceParams(Params):
    """Names one device."""

    device: Id
    """The device's id."""


class SeriesParams(Params):
    """Which series are asked for."""

    device: Id | None = None
    """Only this device's series."""


class QueryParams(Params):
    """A stretch of one series."""

    device: Id
    """The device's id."""
    metric: Annotated[str, Field(min_length=1, max_length=256)]
    """The metric's dotted name."""
    start: Annotated[Time, Field(default_factory=lambda: parse_time("-24h"))]
    """From when on: ISO 8601, epoch ms, or a time ago such as -24h (the default)."""
    end: Annotated[Time, Field(default_factory=lambda: parse_time("now"))]
    """Until when: as `start`; now if not given."""
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None
    """The most points to answer with: of more samples those are left that keep the line's shape.
    With `aggregate`: into how many equal buckets the time is divided (500 if not given)."""
    aggregate: Aggregate | None = None
    """Make one value of the samples in each bucket. Without it they are given as they are."""


class BridgeParams(Params):
    """Names one bridge."""

    name: Id
    """The bridge's name."""


class ReplayParams(Params):
    """What is to be sent again."""

    start: Time
    """From when on: ISO 8601, epoch ms, or a time ago such as -24h."""
    end: Annotated[Time, Field(default_factory=lambda: parse_time("now"))]
    """Until when: as `start`; now if not given."""
    devices: Annotated[str, Field(min_length=1, max_length=256)] = "*"
    """A shell pattern on device ids."""


class LettersParams(Params):
    """Which dead letters to show."""

    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    """The most letters to answer with."""
    before: Annotated[int, Field(ge=1, le=MOST_ID)] = MOST_ID
    """Only letters with ids below this one."""


class RetryParams(Params):
    """Which dead letters to try again."""

    ids: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_ID)], ...], Field(max_length=500)] = ()
    """These. If none are named, up to 500, the oldest first."""
    after: Annotated[int, Field(ge=0, le=MOST_ID)] = 0
    """Without `ids`: only letters with ids above this one."""


class NamedReplayParams(ReplayParams, BridgeParams):
    """What a bridge is to send again."""


class NamedLettersParams(LettersParams):
    """Whose dead letters to show."""

    name: Id | None = None
    """The bridge or source; all if not given."""


class NamedRetryParams(RetryParams, BridgeParams):
    """Which dead letters of a bridge or source to try again."""


class TailParams(Params):
    """Whose readings to follow."""

    filter: Annotated[str, Field(max_length=256)] = "*"
    """A shell pattern on device ids."""


class OverviewParams(Params):
    """Which devices come with the overview."""

    sort: Literal["rate", "seen", "state", "readings", "id"] = "rate"
    """What comes first: most readings a second, the longest silent, the worst, most readings, a."""
    filter: Annotated[str, Field(max_length=256)] = ""
    """Only devices whose id holds this."""
    limit: Annotated[int, Field(ge=0, le=500)] = 50
    """The most devices to answer with."""
    offset: Annotated[int, Field(ge=0, le=MOST_ID)] = 0
    """How many devices to leave out before them."""


class ReloadParams(Params):
    """How the configuration is read again."""

    confirm: Annotated[Duration, Field(ge=5, le=86_400)] | None = None
    """Go back after so long unless the new one is kept."""


async def stretch(house: House, asked: QueryParams) -> dict[str, Any]:
    """The answer to a query. Raises LookupError and ValueError as the house does."""
    points: Sequence[tuple[int, Any]] = ()
    if asked.start <= asked.end:
        most = asked.points if asked.points or asked.aggregate else MOST_POINTS
        points = await house.query(
            asked.device, asked.metric, asked.start, asked.end, most, asked.aggregate
        )
    return {"device": asked.device, "metric": asked.metric, "points": points}
