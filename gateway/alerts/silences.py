"""Silences: for a while nobody is told of some alerts. Set by people, or by maintenance windows."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from gateway.alerts.alert import Alert
from gateway.alerts.windows import Window
from gateway.config.alerting import MaintenanceSettings
from gateway.core.ids import device_filter

MOST = 1_000
"""Silences at a time."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts of these rules and sources (shell patterns), with these labels, from start to end
    (ns)."""

    id: int
    rule: str
    source: str
    start: int
    end: int
    labels: Mapping[str, str] = field(default_factory=dict)
    by: str = ""
    comment: str = ""

    def covers(self, alert: Alert) -> bool:
        """Whether it is about this alert."""
        return (
            fnmatchcase(alert.rule, self.rule)
            and fnmatchcase(alert.source, self.source)
            and labels_fit(self.labels, alert.labels)
        )

    def as_dict(self) -> dict[str, Any]:
        """For the API; times in epoch ms."""
        return {
            "id": self.id,
            "rule": self.rule,
            "source": self.source,
            "labels": dict(self.labels),
            "start": self.start // 1_000_000,
            "end": self.end // 1_000_000,
            "by": self.by,
            "comment": self.comment,
        }


def labels_fit(wanted: Mapping[str, str], there: Mapping[str, str]) -> bool:
    """Whether each wanted label is there with a value that fits."""
    return all(fnmatchcase(there.get(key, ""), value) for key, value in wanted.items())


class Silences:
    """Those that there are, and the maintenance windows."""

    def __init__(self, windows: Iterable[MaintenanceSettings]) -> None:
        self._silences: dict[int, Silence] = {}
        self._windows = [
            (Window(w), device_filter(w.rules), device_filter(w.sources)) for w in windows
        ]
        self._next = 1

    def load(self, silences: Iterable[Silence]) -> None:
        """Take those that were stored."""
        for silence in silences:
            self.add(silence)

    def number(self) -> int:
        """An id for a new one."""
        return self._next

    def add(self, silence: Silence) -> None:
        """One more."""
        self._silences[silence.id] = silence
        self._next = max(self._next, silence.id + 1)

    def get(self, number: int) -> Silence:
        """One of them. Raises LookupError."""
        if number not in self._silences:
            raise LookupError(f"no silence {number}")
        return self._silences[number]

    def remove(self, number: int) -> None:
        """End one. Raises LookupError."""
        del self._silences[self.get(number).id]

    def all(self) -> list[Silence]:
        """Those that have not ended, the one that ends first first."""
        now = time.time_ns()
        return sorted((s for s in self._silences.values() if s.end > now), key=lambda s: s.end)

    def ended(self) -> list[Silence]:
        """Those that have."""
        now = time.time_ns()
        return [silence for silence in self._silences.values() if silence.end <= now]

    def until(self, alert: Alert) -> float | None:
        """Until when (s since the epoch) this alert is silenced; None: it is not."""
        now = time.time_ns()
        ends = [
            silence.end / 1e9
            for silence in self._silences.values()
            if silence.start <= now < silence.end and silence.covers(alert)
        ]
        for window, rules, sources in self._windows:
            if rules(alert.rule) and sources(alert.source):
                end = window.until(now / 1e9)
                ends += [] if end is None else [end]
        return max(ends, default=None)
