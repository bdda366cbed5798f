"""The section `health`: limits, weights, when a level changes, when a device is silent."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.core.settings import Duration, Settings, wrong
from gateway.stages.health import Hysteresis, Limit, Rules, Silence

_WEIGHT = "Points lost at `critical`, half as many at `warning`; 0 leaves it out."
Weight = Annotated[int, Field(ge=0, le=100, description=_WEIGHT)]
Percent = Annotated[float, Field(ge=0, le=100)]


class LimitSettings(Settings):
    """What a metric costs: half its weight from `warning` on, growing to all of it at
    `critical`. The other side of `warning` is well. A weight of 0 switches it off."""

    warning: float
    critical: float
    weight: Weight = 40

    @model_validator(mode="after")
    def _apart(self) -> Self:
        usual = type(self).model_fields
        less_is_worse = usual["critical"].default < usual["warning"].default
        if self.critical == self.warning or (self.critical < self.warning) != less_is_worse:
            where = "below" if less_is_worse else "above"
            fix = f"give a critical that lies {where} warning"
            raise wrong("critical", f"critical is not {where} warning", fix)
        return self

    @property
    def limit(self) -> Limit:
        """The same in health's terms."""
        return Limit(self.warning, self.critical, self.weight)


class Availability(LimitSettings):
    """How long something is not reached."""

    warning: Duration = 10.0
    """Out of reach for so long."""
    critical: Duration = 60.0
    """Out of reach for so long."""
    weight: Weight = 80


class ErrorRate(LimitSettings):
    """Frames of a source that cannot be decoded."""

    warning: Percent = 1.0
    """Percent of a source's frames that cannot be decoded."""
    critical: Percent = 10.0
    """Percent."""
    weight: Weight = 60


class FailedAttempts(LimitSettings):
    """Writes of a bridge that fail."""

    warning: Percent = 10.0
    """Percent of a bridge's writes that failed in the last five minutes, of at least ten; an outage
    counts as one."""
    critical: Percent = 50.0
    """Percent."""


class ResponseTime(LimitSettings):
    """How long a bridge's other side takes."""

    warning: Duration = 5.0
    """What a bridge's write takes until it is answered."""
    critical: Duration = 20.0
    """Likewise."""


class CommitTime(LimitSettings):
    """How long the disk takes."""

    warning: Duration = 1.0
    """What a commit of the journal takes."""
    critical: Duration = 5.0
    """Likewise."""


class Throughput(LimitSettings):
    """What comes from a source, next to what usually does."""

    warning: Percent = 50.0
    """Percent of a source's own baseline (about an hour), and unusual for it."""
    critical: Percent = 5.0
    """Percent."""
    weight: Weight = 20


class Staleness(LimitSettings):
    """How long a device says nothing."""

    warning: Annotated[float, Field(ge=1)] = 1.0
    """Times the silence that its own rhythm allows."""
    critical: Annotated[float, Field(ge=1)] = 5.0
    """Likewise."""
    weight: Weight = 80


class Refused(LimitSettings):
    """What a device sends over its rate."""

    warning: Percent = 1.0
    """Percent of a device's messages that are over [`limits.rate`](howto/limits.md)."""
    critical: Percent = 50.0
    """Percent."""


class Lag(LimitSettings):
    """How old what waits for a bridge is."""

    warning: Duration = 60.0
    """Age of the oldest reading on its way to a bridge."""
    critical: Duration = 600.0
    """Likewise."""


class QueueFull(LimitSettings):
    """When the journal will drop what a bridge has not had."""

    warning: Duration = 86_400.0
    """Time left until a bridge that does not get through loses readings, at the rate of now."""
    critical: Duration = 600.0
    """Likewise."""
    weight: Weight = 60


class Backlog(LimitSettings):
    """What waits for the disk."""

    warning: Annotated[float, Field(ge=1)] = 5_000.0
    """Readings that wait for their commit; at 10,000 sources are held back."""
    critical: Annotated[float, Field(ge=1)] = 10_000.0
    """Likewise."""
    weight: Weight = 60


class Memory(LimitSettings):
    """This machine's memory."""

    warning: Percent = 90.0
    """Percent of the machine's memory that is used."""
    critical: Percent = 97.0
    """Percent."""


class Cpu(LimitSettings):
    """This machine's processors."""

    warning: Percent = 90.0
    """Percent of all processors, over about a minute."""
    critical: Percent = 99.0
    """Percent."""
    weight: Weight = 30


class Loop(LimitSettings):
    """How late the gateway's own work is."""

    warning: Duration = 1.0
    """How late the event loop came to its work, at worst in the last minute."""
    critical: Duration = 10.0
    """Likewise."""


class Disk(LimitSettings):
    """The disk with the gateway's data."""

    warning: Percent = 90.0
    """Percent of the disk that is used."""
    critical: Percent = 97.0
    """Percent."""


class DiskFull(LimitSettings):
    """When that disk will be full."""

    warning: Duration = 86_400.0
    """Time until the disk is full, as it has been filling."""
    critical: Duration = 3_600.0
    """Likewise."""


class Temperature(LimitSettings):
    """The hottest sensor."""

    warning: float = 75.0
    """Degrees Celsius of the machine's hottest sensor; a Raspberry Pi slows down at 80 to 85."""
    critical: float = 82.0
    """Degrees Celsius."""


class Limiting(LimitSettings):
    """How long a part has held up the others, see [profiling](stages/profiling.md)."""

    warning: Duration = 0.0
    """It is the one that limits, for so long."""
    critical: Duration = 3_600.0
    """Likewise."""
    weight: Weight = 60


class LimitsOfHealth(Settings):
    """What each metric may be."""

    availability: Availability = Availability()
    """Sources, bridges, the broker: out of reach."""
    error_rate: ErrorRate = ErrorRate()
    """Sources."""
    failed_attempts: FailedAttempts = FailedAttempts()
    """Bridges."""
    response_time: ResponseTime = ResponseTime()
    """Bridges."""
    commit_time: CommitTime = CommitTime()
    """The journal."""
    throughput: Throughput = Throughput()
    """Sources."""
    staleness: Staleness = Staleness()
    """Devices."""
    refused: Refused = Refused()
    """Devices."""
    lag: Lag = Lag()
    """Bridges."""
    queue_full: QueueFull = QueueFull()
    """Bridges."""
    backlog: Backlog = Backlog()
    """The journal."""
    limiting: Limiting = Limiting()
    """Bridges, the journal, history, decoding, the machine (for the event loop). It costs only what
    the part has not lost for other reasons."""
    memory: Memory = Memory()
    """The machine."""
    cpu: Cpu = Cpu()
    """The machine."""
    loop: Loop = Loop()
    """The machine."""
    disk: Disk = Disk()
    """The machine."""
    disk_full: DiskFull = DiskFull()
    """The machine."""
    temperature: Temperature = Temperature()
    """The machine."""

    def limits(self, given: bool = False) -> dict[str, Limit]:
        """By metric; `given`: only those that are written in the configuration."""
        names = self.model_fields_set if given else type(self).model_fields
        return {name: getattr(self, name).limit for name in names}


class SpecialSettings(Settings):
    """Other limits for some parts."""

    parts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Shell patterns on `<kind>/<name>`, such as bridge/cloud, stage/machine or device/meter-*."""
    limits: LimitsOfHealth
    """Those that are written here; keys of a limit that are left out are the defaults."""


class SteadinessSettings(Settings):
    """When a level follows its score."""

    margin: Annotated[int, Field(ge=0, le=10)] = 3
    """A level gets better only so many points above its border,"""
    better: Duration = 5.0
    """and for so long."""
    worse: Duration = 0.0
    """It gets worse after so long below its border."""


class SilenceSettings(Settings):
    """When a device is silent. Each is judged by its own rhythm."""

    at_least: Annotated[Duration, Field(ge=10)] = 60.0
    """No device is called silent before."""
    missed: Annotated[float, Field(ge=2, le=1_000)] = 5.0
    """After so many of its usual intervals."""
    unknown: Annotated[Duration, Field(ge=10)] = 600.0
    """How long a device may be silent whose rhythm is not known yet."""


class KeptHealthSettings(Settings):
    """Health history."""

    retention: Duration = 30 * 86_400.0
    """How long it is kept."""
    rows: Annotated[int, Field(ge=1_000, le=10_000_000)] = 100_000
    """The most changes that are kept; a row takes about 100 bytes."""
    every: Annotated[Duration, Field(ge=1)] = 600.0
    """How often it is written, at most every 60 times `journal.gather`; a write wears a card by
    some 20 kB, and a crash costs what was not written yet."""


class HealthSettings(Settings):
    """How health is judged."""

    limits: LimitsOfHealth = LimitsOfHealth()
    """What each metric may be."""
    special: tuple[SpecialSettings, ...] = ()
    """Other limits for some parts; the last that fits counts."""
    weights: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=dict)
    """What parts weigh in the whole, by shell patterns on `<kind>/<name>`; `device` for all devices
    together. 1 where none fits; 0 leaves a part out."""
    level: SteadinessSettings = SteadinessSettings()
    """When a level follows its score."""
    silence: SilenceSettings = SilenceSettings()
    """When a device is silent."""
    trend: Annotated[Duration, Field(ge=10, le=86_400)] = 300.0
    """The window of a trend."""
    history: KeptHealthSettings = KeptHealthSettings()
    """Health history."""

    def rules(self) -> Rules:
        """The same in health's terms."""
        return Rules(
            limits=self.limits.limits(),
            special=[(each.parts, each.limits.limits(given=True)) for each in self.special],
            weights=self.weights,
            hysteresis=Hysteresis(self.level.margin, self.level.better, self.level.worse),
            silence=Silence(self.silence.at_least, self.silence.missed, self.silence.unknown),
            trend=self.trend,
        )
