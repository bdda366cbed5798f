"""One alert: a rule that holds for a source, from the first moment until it is over.

Two that have the same rule and source are the same alert, however often it comes back.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.core.contracts import Value
from gateway.core.ids import slug


class State(StrEnum):
    """Where an alert is. acknowledged and silenced are how one that fires is shown."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


@dataclass(slots=True, eq=False)
class Alert:
    """rule and source are its fingerprint. state: PENDING, FIRING or RESOLVED.

    since: when it began to be so; fired, ended: when it became an alert and when it was over (ns,
    0: not). count: how often it fired. flaps: how often it came back soon. acknowledged: when
    (ns, 0: not), and by whom. told: the channels that believe it fires, with when they were told
    (ns). steps: by route, how many steps of its escalation were taken.

    began, clearing: the same by the monotonic clock, since when it is so, and since when it is
    not so any more (None: it is). lit, heard: fired and told, by the monotonic clock: a clock that
    is set is no time that has passed. worded: when its message was last written, likewise. why:
    what the source itself said last. stored: the state that the store has. source is `soil-4`,
    `bridge/home`.
    """

    id: int
    rule: str
    source: str
    severity: str = "warning"
    state: State = State.PENDING
    since: int = 0
    fired: int = 0
    ended: int = 0
    value: Value | None = None
    limit: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 0
    flaps: int = 0
    acknowledged: int = 0
    by: str = ""
    told: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    began: float = 0.0
    clearing: float | None = None
    lit: float = 0.0
    heard: dict[str, float] = field(default_factory=dict)
    worded: float = -math.inf
    why: str = ""
    stored: State | None = None

    @property
    def active(self) -> bool:
        """Whether it fires."""
        return self.state is State.FIRING

    @property
    def place(self) -> str:
        """Its source as a level of a topic."""
        return slug(self.source) or "gateway"

    def shown(self, silenced: bool) -> State:
        """The state as people see it."""
        if not self.active:
            return self.state
        if silenced:
            return State.SILENCED
        return State.ACKNOWLEDGED if self.acknowledged else State.FIRING

    def as_dict(self, silenced_until: float | None) -> dict[str, Any]:
        """For the API; times in epoch ms. silenced_until: s since the epoch, None: it is not."""
        return {
            "id": self.id,
            "rule": self.rule,
            "source": self.source,
            "severity": self.severity,
            "state": self.shown(silenced_until is not None).value,
            "since": self.since // 1_000_000,
            "fired": self.fired // 1_000_000 or None,
            "ended": self.ended // 1_000_000 or None,
            "value": self.value,
            "limit": self.limit,
            "message": self.message,
            "labels": dict(self.labels),
            "count": self.count,
            "acknowledged": self.acknowledged // 1_000_000 or None,
            "acknowledged_by": self.by or None,
            "silenced_until": None if silenced_until is None else round(silenced_until * 1_000),
            "told": sorted(self.told),
        }

    def announced(self) -> dict[str, Any]:
        """The contract's message on its topic."""
        return {
            "level": self.severity,
            "message": self.message,
            "since": self.since // 1_000_000,
            "value": self.value,
            "count": self.count,
            "acknowledged": bool(self.acknowledged),
        }


def monotonic_of(moment: int) -> float:
    """The monotonic time (s) of a moment by the wall clock (ns) that has passed."""
    return time.monotonic() - max(time.time_ns() - moment, 0) / 1e9
