"""Alerts and silences: what can be asked of them, over HTTP (see alert_routes) and over the control
socket."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.core.errors import Conflict
from gateway.core.settings import Id
from gateway.runtime.alerting import Alerting
from gateway.web.house import House
from gateway.web.params import MOST_ID, NoParams, Params, Pattern, While
from gateway.web.times import Time

Number = Annotated[int, Field(ge=1, le=MOST_ID)]
Text = Annotated[str, Field(max_length=500)]
Shown = Literal["active", "all", "pending", "firing", "acknowledged", "silenced", "resolved"]


class AlertsParams(Params):
    """Which alerts are asked for."""

    state: Shown = "active"
    """Those that are active (firing, acknowledged or silenced), in one of these states, or all."""


class AckParams(Params):
    """Who takes care of it."""

    by: Text = ""
    """A name, for others to see."""


class NamedAckParams(AckParams):
    """Names the alert as well."""

    id: Number
    """The alert's id."""


class SilenceParams(Params):
    """Nobody is told of these for a while. Something must be said: nothing at all would be
    everything, by mistake."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    rule: Pattern = "*"
    """Of which rules (a shell pattern)."""
    source: Pattern = "*"
    """Of which devices and parts, such as soil-4 or bridge/*."""
    labels: Annotated[dict[str, Text], Field(max_length=20)] = Field(default_factory=dict)
    """With which labels; values are shell patterns."""
    start: Time | None = None
    """From when on: ISO 8601 or epoch ms; now if not given."""
    duration: While = 3_600.0
    """For how long, such as 30m (1h)."""
    end: Time | None = None
    """Until when, as `start`; it counts instead of `duration`."""
    by: Text = ""
    """Who wants it, for others to see."""
    comment: Text = ""
    """Why, likewise."""

    @model_validator(mode="after")
    def _says_something(self) -> "SilenceParams":
        if not self.model_fields_set:
            raise ValueError("say of what, or for how long")
        return self

    @property
    def stretch(self) -> tuple[int, int]:
        """From when to when (ns)."""
        start = time.time_ns() if self.start is None else self.start
        return start, start + int(self.duration * 1e9) if self.end is None else self.end


class NumberParams(Params):
    """Names one silence."""

    id: Number
    """Its id."""


class ChannelParams(Params):
    """Names one channel."""

    channel: Id
    """Its name, or mqtt."""


def at_work(house: House) -> Alerting:
    """Whoever watches. Raises Conflict where nobody does."""
    if house.alerting is None:
        raise Conflict("alerts are off", fix="alerts: {enabled: true}, then berrygate reload")
    return house.alerting


async def make_silence(house: House, asked: SilenceParams) -> dict[str, Any]:
    """The silence that is asked for, made. Raises Conflict, ValueError as the house does."""
    start, end = asked.stretch
    return await at_work(house).silence(
        asked.rule, asked.source, asked.labels, start, end, asked.by, asked.comment
    )


def alert_calls(
    house: House,
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    """What the command line can ask, by name: (its arguments, what answers)."""

    async def alerts(asked: AlertsParams) -> Any:
        return at_work(house).alerts(asked.state)

    async def acknowledge(asked: NamedAckParams) -> Any:
        return await at_work(house).acknowledge(asked.id, asked.by)

    async def silence(asked: SilenceParams) -> Any:
        return await make_silence(house, asked)

    async def silences(_: NoParams) -> Any:
        return at_work(house).silences()

    async def end_silence(asked: NumberParams) -> Any:
        return await at_work(house).end_silence(asked.id)

    async def channels(_: NoParams) -> Any:
        return at_work(house).channels()

    async def test(asked: ChannelParams) -> Any:
        return await at_work(house).test(asked.channel)

    return {
        "alerts": (AlertsParams, alerts),
        "alert_ack": (NamedAckParams, acknowledge),
        "silence": (SilenceParams, silence),
        "silences": (NoParams, silences),
        "silence_end": (NumberParams, end_silence),
        "channels": (NoParams, channels),
        "channel_test": (ChannelParams, test),
    }
