"""The section `alerts`: what is watched, who is told, and when nobody wants to hear of it."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from gateway.config.messages import check_template
from gateway.config.services import check_service
from gateway.core.settings import Duration, Id, Secret, Settings, wrong

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
Figure = Literal[
    "failing",
    "lag",
    "queued",
    "drops_soon",
    "dead_letters",
    "errors",
    "breaker_open",
    "disk",
    "memory",
    "temperature",
    "undervoltage",
    "throttled",
    "clock_unset",
    "connected",
    "broker_dropped",
    "certificate_days",
    "limiting",
    "journal_backlog",
    "journal_trouble",
    "history_trouble",
]
"""Figures of the gateway's own parts; what each one is: docs/howto/alerts.md."""

MQTT = "mqtt"
"""The channel that is always there: the alert's topic at the gateway's broker."""

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_MOST = 1_000


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _list_of(items: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items}]})


Patterns = Annotated[
    tuple[str, ...], BeforeValidator(_several), _list_of({"type": "string", "minLength": 1})
]
"""One shell pattern or a list of them; one that starts with `!` excludes."""
Severities = Annotated[
    tuple[Severity, ...],
    BeforeValidator(_several),
    _list_of({"type": "string", "enum": list(SEVERITIES)}),
]
Days = Annotated[
    tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...],
    BeforeValidator(_several),
    _list_of({"type": "string", "enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_several), _list_of({"type": "string"})]


class RuleSettings(Settings):
    """What is watched, and from when on it is an alert. One of device, health, presence and figure
    says what is looked at."""

    name: Id
    """The rule's name. One with the name of a default rule takes its place."""
    enabled: bool = True
    """Look at it at all."""
    device: Patterns = ()
    """Readings of these devices (shell patterns), with `metric`."""
    metric: str | None = None
    """The metric's dotted name."""
    health: Patterns = ()
    """Health of these parts, such as bridge/home, stage/*, device/soil-*, or gateway for the whole:
    its score with above or below, or `level`."""
    presence: Patterns = ()
    """Presence of these devices, with `state`."""
    figure: Figure | None = None
    """A figure of the gateway's own parts, with `of`."""
    of: Patterns = ("*",)
    """Which parts' figure: bridge/home, stage/machine, …"""
    above: float | None = None
    """An alert while the value is above this."""
    below: float | None = None
    """An alert while the value is below this."""
    equals: bool | float | str | None = None
    """An alert while the value is this."""
    clear: float | None = None
    """With above or below: an alert ends only when the value is back past this (hysteresis)."""
    change: Duration | None = None
    """Look at how much the value has changed within this time instead of the value itself: a
    metric, a figure, or a score of health."""
    absent: Duration | None = None
    """An alert when there was no reading with this metric for so long."""
    level: Literal["GOOD", "WARNING", "CRITICAL", "FAILED"] | None = None
    """With health: an alert at this level or a worse one."""
    state: Literal["stale", "offline"] | None = None
    """With presence: an alert while a device is so, or worse."""
    for_: Duration = Field(
        0.0, alias="for", description="It is pending until this has been so for so long."
    )
    clear_for: Duration = 10.0
    """It is over when it has not been so for this long; what comes and goes within it is one
    alert. It doubles, up to an hour, for an alert that keeps coming back."""
    severity: Severity = "warning"
    """How bad it is."""
    message: Annotated[str, Field(max_length=_MOST)] | None = None
    """What is said of it. {device} or {source}, {rule}, {metric}, {value}, {limit}, {since},
    {severity}, {why}, {gateway} and labels are filled in."""
    labels: dict[Id, str] = Field(default_factory=dict)
    """Words of your own, for routes."""
    group_wait: Duration | None = None
    """How long others of its kind are waited for before it is told, instead of the route's."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.enabled:
            return self
        looked_at = [k for k in ("device", "health", "presence", "figure") if getattr(self, k)]
        if len(looked_at) != 1:
            message = "a rule looks at one of device, health, presence and figure"
            raise wrong(looked_at[1] if looked_at else "name", message, "keep one of them")
        conditions = self._conditions(looked_at[0])
        if not conditions:
            message = "a rule needs something to compare with"
            raise wrong(looked_at[0], message, f"add {_WANTED[looked_at[0]]}")
        self._check_clear()
        self._check_change()
        try:
            check_template(self.message or "", self.labels)
        except ValueError as error:
            raise wrong("message", str(error), "double a brace that is meant: {{ or }}") from error
        return self

    def _conditions(self, looked_at: str) -> list[str]:
        found = [key for key in _CONDITIONS if getattr(self, key) is not None]
        allowed = _ALLOWED[looked_at]
        for key in found:
            if key not in allowed:
                raise wrong(key, f"{key} does not go with {looked_at}", f"leave out {key}")
        if looked_at == "device" and self.metric is None and found != ["absent"]:
            raise wrong("device", "which metric of it is not said", "add metric:")
        if looked_at != "device" and self.metric is not None:
            raise wrong("metric", f"metric does not go with {looked_at}", "leave out metric")
        if len(found) > 1 and set(found) != {"above", "below"}:
            fix = "make a rule of its own for each"
            raise wrong(found[1], f"{' and '.join(found)} together", fix)
        return found

    def _check_clear(self) -> None:
        if self.clear is None:
            return
        if (self.above is None) == (self.below is None):
            raise wrong("clear", "clear goes with one of above and below", "leave out clear")
        if self.above is not None and self.clear > self.above:
            raise wrong("clear", "clear is not below above", f"clear: {self.above:g} or less")
        if self.below is not None and self.clear < self.below:
            raise wrong("clear", "clear is not above below", f"clear: {self.below:g} or more")

    def _check_change(self) -> None:
        if self.change is not None and self.above is None and self.below is None:
            raise wrong("change", "a change is compared with above or below", "add above:")


_CONDITIONS = ("above", "below", "equals", "absent", "level", "state")
_ALLOWED = {
    "device": ("above", "below", "equals", "absent"),
    "health": ("above", "below", "level"),
    "presence": ("state",),
    "figure": ("above", "below", "equals"),
}
_WANTED = {
    "device": "above:, below:, equals: or absent:",
    "health": "level: or below:",
    "presence": "state: offline",
    "figure": "above:, below: or equals:",
}


class ChannelSettings(Settings):
    """Somebody who can be told."""

    name: Id
    """The channel's name, for routes."""
    url: Secret
    """Where to, as Apprise writes it: ntfys://ntfy.sh/topic, mailtos://…, slack://…, jsons://…"""
    allow_private: bool = False
    """Whether it may be on this machine or in a private network. Otherwise addresses are looked at
    as they are connected to, also after redirects."""
    timeout: Annotated[Duration, Field(gt=0, le=120)] = 15.0
    """How long one attempt may take."""
    rate: Annotated[int, Field(ge=1, le=100_000)] = 60
    """Messages an hour that it takes for long. What is over is not lost: it waits, and goes out as
    one."""
    burst: Annotated[int, Field(ge=1, le=10_000)] = 10
    """How many may go at once after it was quiet."""
    give_up: Duration = 86_400.0
    """After how long a message that cannot be sent is given up, and counted."""

    @model_validator(mode="after")
    def _service(self) -> Self:
        if self.name == MQTT:
            raise wrong("name", f'"{MQTT}" is the channel that is always there', "another name")
        message, fix = check_service(self.url.get_secret_value())
        if message:
            raise wrong("url", message, fix)
        return self


class EscalationSettings(Settings):
    """Who is told when nobody acknowledges."""

    after: Duration = 900.0
    """How long after it was first told."""
    channels: Annotated[Names, Field(min_length=1)]
    """Who is told then."""


class RouteSettings(Settings):
    """Which alerts go to which channels. Every route that fits an alert takes it."""

    name: Id | None = None
    """The route's name; its number if not given."""
    severity: Severities = ()
    """Only these; without it warning and critical."""
    rules: Patterns = ("*",)
    """Only of these rules (shell patterns)."""
    sources: Patterns = ("*",)
    """Only of these devices and parts."""
    labels: dict[Id, str] = Field(default_factory=dict)
    """Only with these labels; values are shell patterns."""
    channels: Annotated[Names, Field(min_length=1)]
    """Who is told."""
    group_by: Names = ("rule",)
    """What makes one message of several alerts: rule, source, severity, or a label's name."""
    group_wait: Duration = 2.0
    """How long others of its kind are waited for; twice as long while more of them come."""
    repeat: Duration | None = None
    """Say it again so often while it lasts and nobody acknowledges."""
    resolved: bool = True
    """Say as well that it is over."""
    escalate: tuple[EscalationSettings, ...] = ()
    """Who is told when nobody acknowledges."""


class WindowSettings(Settings):
    """A time of day, or one stretch of time."""

    start: str
    """From when on: 22:00, or once: 2026-12-01T08:00."""
    end: str
    """Until when, likewise; one that is not after `start` is on the next day."""
    days: Days = ()
    """On which days it begins: mon, tue, …; every day if not given."""
    timezone: str | None = None
    """Such as Europe/Berlin; this machine's if not given."""

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(f'no time zone "{value}" is known here') from error
        return value

    @model_validator(mode="after")
    def _stretch(self) -> Self:
        kinds = {key: bool(_TIME.fullmatch(getattr(self, key))) for key in ("start", "end")}
        for key, daily in kinds.items():
            if not daily and _moment(getattr(self, key)) is None:
                raise wrong(key, "not a time", f'{key}: "22:00", or 2026-12-01T08:00')
        if kinds["start"] != kinds["end"]:
            raise wrong("end", "one is a time of day and the other is not", "write both alike")
        if not kinds["start"]:
            if self.days:
                raise wrong("days", "this window is there once", "leave out days")
            first, last = _moment(self.start), _moment(self.end)
            assert first is not None, "looked at above"
            assert last is not None, "looked at above"
            if first.replace(tzinfo=None) >= last.replace(tzinfo=None):
                raise wrong("end", "it ends before it begins", "a later end:")
        return self


class QuietSettings(WindowSettings):
    """Hours in which nobody is told. What still lasts at their end is told then."""

    except_: Severities = Field(
        ("critical",), alias="except", description="These come through all the same."
    )
    channels: Patterns = ("*",)
    """Quiet for these channels only (shell patterns)."""


class MaintenanceSettings(WindowSettings):
    """When work is done on something: its alerts are silenced."""

    rules: Patterns = ("*",)
    """Of these rules (shell patterns)."""
    sources: Patterns = ("*",)
    """Of these devices and parts."""


class AlertsSettings(Settings):
    """What is watched, who is told, and when nobody wants to hear of it."""

    enabled: bool = True
    """Watch at all."""
    defaults: bool = True
    """Have the default rules; see docs/howto/alerts.md."""
    rules: tuple[RuleSettings, ...] = ()
    """What is watched besides."""
    channels: tuple[ChannelSettings, ...] = ()
    """Who can be told, besides the topic of each alert on MQTT."""
    routes: tuple[RouteSettings, ...] = ()
    """Which alerts go to which channels. Without it warnings and critical ones go to all."""
    quiet: tuple[QuietSettings, ...] = ()
    """Hours in which nobody is told."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """When work is done on something."""

    @property
    def named_routes(self) -> dict[str, RouteSettings]:
        """Each route by its name or number; without any, one to every channel."""
        if self.routes:
            return {r.name or f"route-{n}": r for n, r in enumerate(self.routes, 1)}
        everybody = tuple(channel.name for channel in self.channels)
        return {"default": RouteSettings(channels=everybody)} if everybody else {}


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
