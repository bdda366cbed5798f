"""The configuration of profiling."""

from typing import Annotated

from pydantic import Field, model_validator

from gateway.core.settings import Duration, Settings, wrong

Share = Annotated[float, Field(gt=0, le=1)]


class StageLimits(Settings):
    """How long the slowest hundredth of a stage's work may take (its p99 of the last minute)."""

    warning: Duration
    """From here on its level is WARNING."""
    critical: Duration
    """From here on its level is CRITICAL."""

    @model_validator(mode="after")
    def _order(self) -> "StageLimits":
        if self.critical < self.warning:
            raise wrong("critical", "critical is below warning", "critical: at least warning")
        return self


class ProfilingSettings(Settings):
    """How long each stage takes, and what limits the whole."""

    enabled: bool = True
    """Measure at all. It costs less than 3 % of the processor time a message."""
    slow_callback: Duration = 0.1
    """What holds the event loop for longer is counted, and named in the log."""
    saturated: Share = 0.9
    """A stage that is at work for this share of the time is saturated: it limits, if what waits
    for it does not get less."""
    within: Annotated[Duration, Field(ge=1.0, le=60.0)] = 3.0
    """How long a stage must be saturated before it is said to limit."""
    limits: dict[str, StageLimits] = Field(default_factory=dict)
    """When a stage's level is WARNING or CRITICAL, by its name, such as `journal` or
    `deliver:home`; without a limit its level follows from how busy it is."""
