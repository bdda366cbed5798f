"""What every bridge has; its driver adds the rest."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gateway.core.contracts import Bridge, Context, Endpoint
from gateway.core.settings.model import Id, Settings, wrong
from gateway.core.settings.quantities import Duration, duration_text


class BatchSettings(Settings):
    """How readings are gathered into one write."""

    size: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most readings in one write."""
    wait: Duration = 1.0
    """Longest a reading waits for others to fill the write."""


class BreakerSettings(Settings):
    """When to stop trying an endpoint for a while."""

    failures: Annotated[int, Field(ge=1)] = 5
    """Consecutive failures that open the breaker."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of failures among the calls within `window` that opens it too, from 10 calls on; 1:
    never."""
    window: Annotated[Duration, Field(gt=0)] = 60.0
    """How far back the share of failures looks."""
    reset: Duration = 30.0
    """How long it stays open before one trial."""


Times = Literal["forever"] | Annotated[int, Field(ge=1)]
"""How often; or without end."""


class RetrySettings(Settings):
    """What happens after a failed write."""

    strategy: Literal["exponential", "decorrelated", "fixed", "budgeted"] = "exponential"
    """How long the pauses between tries are: a random time below a bound that doubles; one between
    `base` and three times the pause before; about `base`; or as exponential as long as tries are at
    most a share (`budget`) of the writes that succeed, then `max`."""
    base: Duration = 0.5
    """Upper bound of the first pause; for decorrelated the shortest, for fixed every one."""
    max: Duration = 60.0
    """Upper bound of every pause."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.2
    """With strategy budgeted: how many tries each successful write allows."""
    attempts: Times = "forever"
    """After how many attempts a batch becomes dead letters."""
    denied: Times = "forever"
    """After how often being let in was refused (wrong token, no permission) the bridge stops and
    waits for `berrygate bridges resume`; its readings stay. For servers that lock users out."""
    unknown: Annotated[int, Field(ge=1)] = 3
    """How often a batch is tried on which the driver fails in an unknown way. Then it is halved to
    find the readings to blame; if it is all of them, the bridge stops."""
    summaries: Literal["never"] | Duration = "never"
    """While what is to be sent is older than this, one reading of each device and minute is sent
    instead of all (numbers averaged); the others count as dropped{summarised}."""
    fresh_first: Literal["never"] | Annotated[Duration, Field(ge=5)] = "never"
    """After an outage: what was stored longer ago than this is sent beside what is new instead of
    before it, and gives way to it. A device's readings are not sent in order then."""
    failover: Id | None = None
    """Another bridge whose server gets the readings while this one's is away; here they count as
    dropped{failover}."""
    failover_after: Duration = 300.0
    """For how long nothing must have got through before the other bridge stands in."""
    breaker: BreakerSettings = BreakerSettings()
    """When to stop trying an endpoint for a while."""

    @model_validator(mode="after")
    def _bounded(self) -> "RetrySettings":
        # A base that is not written gives way to a lower max.
        if "base" in self.model_fields_set and self.base > self.max:
            most = duration_text(self.max)
            base = duration_text(self.base)
            message = f"base, {base}, is longer than max, {most}"
            raise wrong("base", message, f"at most {most}, or a longer max")
        return self


class PoolSettings(Settings):
    """Connections to the other side."""

    min: Annotated[int, Field(ge=0)] = 1
    """Connections kept open when idle."""
    max: Annotated[int, Field(ge=1, le=64)] = 4
    """Most connections, and most writes at a time; each device's readings stay in order."""
    idle: Annotated[Duration, Field(gt=0)] = 300.0
    """How long a connection above `min` that nobody needs is kept."""
    max_age: Duration = 3600.0
    """Age at which a connection is replaced once nobody uses it (up to a fifth earlier, so that not
    all go at once); 0: never."""
    check: Duration = 30.0
    """After how long without use a connection is looked at, in the background and before it is
    used; 0: never."""
    acquire_timeout: Annotated[Duration, Field(gt=0)] = 30.0
    """Longest a write waits for a connection while all are in use."""
    connect_timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """Longest a connection may take to open."""

    @model_validator(mode="after")
    def _bounded(self) -> "PoolSettings":
        if self.min > self.max:
            raise wrong(
                "min",  # it is written where this is so: the default is as low as max can be
                f"min, {self.min}, is more than max, {self.max}",
                "raise max, or keep fewer connections open when idle",
            )
        return self


class BridgeSettings(Settings):
    """What every bridge has."""

    type: str
    """Which driver."""
    name: Id | None = None
    """The bridge's name, and its place in the journal: a new name starts anew. Defaults to its
    type, with a number where that is taken."""
    devices: tuple[str, ...] = ("*",)
    """Which devices' readings, as shell patterns on device ids; one starting with `!` excludes."""
    start: Annotated[str, Field(pattern=r"^(now|earliest|-\d+(\.\d+)?(ms|s|m|h|d))$")] = "now"
    """Where a new bridge begins: now, earliest, or a time ago such as -7d (by when readings were
    stored)."""
    unsynced: Literal["hold", "send-marked"] = "hold"
    """While the clock is not set: hold readings (at most 10 min) and send them with their right
    times, or send them at once with the times they have, marked."""
    batch: BatchSettings = BatchSettings()
    """How readings are gathered into one write."""
    retry: RetrySettings = RetrySettings()
    """What happens after a failed write."""
    pool: PoolSettings = PoolSettings()
    """Connections to the other side."""

    def feeds(self, gateway: str) -> tuple[Sequence[Endpoint], str] | None:
        """MQTT brokers, and the topic there that readings are published to, in which `{…}` is
        what varies; None where they go elsewhere. gateway: our id."""
        return None

    def build(self, name: str, context: Context) -> Bridge[Any]:
        """The driver. name: `name`, or the default for it."""
        raise NotImplementedError
