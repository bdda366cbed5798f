"""What may be asked of history; the same over HTTP and over the control socket."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.codecs.line_parser import Precision
from gateway.core.settings import Duration, Id, parse_duration
from gateway.store.exporting import Selection
from gateway.store.forms import Form, Moments
from gateway.store.importing import Options
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


class PerformanceParams(Params):
    """Over which time."""

    window: Literal["1m", "15m", "1h"] = "1m"
    """The last minute, quarter of an hour or hour."""


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


class HealthParams(Params):
    """A stretch of health history."""

    part: Annotated[str, Field(pattern=r"^[a-z]{1,20}/[a-z0-9_-]{1,80}$")] = "gateway/gateway"
    """`<kind>/<name>`, as in `GET health`; `device/<id>` for a device; the whole if not given."""
    start: Annotated[Time, Field(default_factory=lambda: parse_time("-24h"))]
    """From when on: ISO 8601, epoch ms, or a time ago such as -24h (the default)."""
    end: Annotated[Time, Field(default_factory=lambda: parse_time("now"))]
    """Until when: as `start`; now if not given."""
    points: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Answer with the worst of each of so many equal stretches; without it, with a point for each
    change."""


Pattern = Annotated[str, Field(min_length=1, max_length=256)]
_WHILE = r"[0-9]{1,4}(\.[0-9]{1,3})?(ms|s|m|h|d)"


def _while(value: Any) -> float:
    if not isinstance(value, str) or not re.fullmatch(_WHILE, value):
        raise PydanticCustomError("while", "not a length of time; expected 10s, 1m, 1h …")
    return parse_duration(value)


While = Annotated[
    float,
    BeforeValidator(_while),
    WithJsonSchema({"type": "string", "pattern": f"^{_WHILE}$"}),
]
"""Seconds, written `10s`."""


def _wait(value: Any) -> float:
    return 0.0 if value == "0" else _while(value)


Wait = Annotated[
    float,
    BeforeValidator(_wait),
    WithJsonSchema({"type": "string", "pattern": f"^(0|{_WHILE})$"}),
]
"""The same, or `0`: not at all."""


class ExportParams(Params):
    """What of history is to go out, and how."""

    format: Form = "csv"
    """csv: a row for each value. json: an object a line for each report. line: InfluxDB line
    protocol, a line for each report."""
    device: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ("*",)
    """Shell patterns on device ids; one that starts with `!` excludes. All if not given."""
    metric: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ("*",)
    """The same on names of metrics."""
    start: Time | None = None
    """From when on: ISO 8601, epoch ms, or a time ago such as -24h; everything if not given."""
    end: Time | None = None
    """Until when: as `start`."""
    time: Moments = "iso"
    """How times are written in CSV and JSON: ISO 8601, exact, or epoch ms, rounded down."""
    aggregate: Aggregate | None = None
    """One value for each `every`, made in this way (avg if only `every` is given)."""
    every: While | None = None
    """For how long one value stands, 1ms or more (1m if only `aggregate` is given)."""

    @property
    def selection(self) -> Selection:
        """The same in history's terms."""
        every = self.every or (60.0 if self.aggregate else 0.0)
        milliseconds = max(round(every * 1_000), 1) if every else 0
        return Selection(
            self.format,
            self.device,
            self.metric,
            0 if self.start is None else self.start,
            2**63 - 1 if self.end is None else self.end,
            self.time,
            milliseconds * 1_000_000,
            self.aggregate or "avg",
        )


class ImportParams(Params):
    """How line protocol is read."""

    precision: Precision = "ns"
    """The unit of its times."""
    device_tag: Annotated[str, Field(max_length=256)] = ""
    """The tag that names the device; the measurement does if not given."""
    drop_tags: bool = False
    """Leave other tags out, instead of refusing lines that have some."""

    @property
    def options(self) -> Options:
        """The same in history's terms."""
        return Options(self.precision, self.device_tag, self.drop_tags)


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


async def health_stretch(house: House, asked: HealthParams) -> dict[str, Any]:
    """The answer about health history. Raises LookupError as the house does."""
    found: Sequence[Any] = ()
    if asked.start <= asked.end:
        found = await house.health_history(asked.part, asked.start, asked.end, asked.points)
    return {"part": asked.part, "points": found}
