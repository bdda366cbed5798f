"""A rule in use: which sources it looks at, whether a value is an alert, and what is said then."""

import time
from collections.abc import Sequence
from functools import cached_property

from gateway.config.alerting import RuleSettings
from gateway.config.messages import filled
from gateway.core.contracts import Value
from gateway.core.ids import device_filter
from gateway.core.settings import duration_text
from gateway.stages.health import Level

_WORSE = (Level.EXCELLENT, Level.GOOD, Level.WARNING, Level.CRITICAL, Level.FAILED)
_AWAY = ("online", "stale", "offline")
_LONGEST_HOLD = 3_600.0


class Rule:
    """See the module. name: its own; settings: as configured."""

    def __init__(self, settings: RuleSettings, gateway: str) -> None:
        self.name = settings.name
        self.settings = settings
        self.fits = device_filter(
            settings.device or settings.health or settings.presence or settings.of
        )
        self._gateway = gateway

    def looks_at(self, source: str) -> bool:
        """Whether this source can be one of its; parts that are there no more are told apart."""
        return not self.settings.device or ("/" not in source and self.fits(source))

    def breached(self, value: Value, active: bool) -> bool | None:
        """Whether this value is an alert; None where it cannot be told. active: it is one
        already, so that it must be back past `clear` before it is none."""
        rule = self.settings
        if rule.equals is not None:
            return value == rule.equals and isinstance(value, bool) == isinstance(rule.equals, bool)
        if rule.level is not None or rule.state is not None:
            return self._is_as_bad(str(value), active)
        if isinstance(value, str):
            return None
        number = float(value)
        if number != number:
            return None
        above, below = rule.above, rule.below
        if active and rule.clear is not None:
            above, below = (None, rule.clear) if above is None else (rule.clear, None)
        return (above is not None and number > above) or (below is not None and number < below)

    @property
    def calm(self) -> tuple[float, float]:
        """Between these a number that is no alert yet stays none."""
        rule = self.settings
        if rule.above is None and rule.below is None:
            return float("inf"), float("-inf")
        low = float("-inf") if rule.below is None else rule.below
        return low, float("inf") if rule.above is None else rule.above

    def _is_as_bad(self, value: str, active: bool) -> bool | None:
        order: Sequence[str] = _AWAY if self.settings.state else _WORSE
        limit = self.settings.state or self.settings.level
        assert limit is not None, "one of the two is there"
        if value not in order:
            return None
        if active and self.settings.state:
            # Nobody becomes stale from offline by being heard: nobody can tell for a while.
            return value != _AWAY[0]
        return order.index(value) >= order.index(limit)

    def hold(self, flaps: int) -> float:
        """How long (s) it must not be so before it is over: doubled each time it came back."""
        first = self.settings.clear_for
        return min(first * 2.0 ** min(flaps, 30), max(_LONGEST_HOLD, first))

    @cached_property
    def limit(self) -> str:
        """What is compared with, for people."""
        rule = self.settings
        if rule.absent is not None:
            return duration_text(rule.absent)
        given = (rule.above, rule.below, rule.equals, rule.level, rule.state)
        return " or ".join(written(each) for each in given if each is not None)

    def message(self, source: str, value: Value | None, since: int, why: str) -> str:
        """What is said of it. since: ns; why: what the source itself says."""
        rule = self.settings
        values = {
            **rule.labels,
            "device": source.removeprefix("device/"),
            "source": source,
            "rule": rule.name,
            "metric": rule.metric or rule.figure or ("health" if rule.health else "presence"),
            "value": written(value),
            "limit": self.limit,
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since / 1e9)),
            "severity": rule.severity,
            "gateway": self._gateway,
            "why": why,
        }
        return filled(rule.message or self._default, values)

    @cached_property
    def _default(self) -> str:
        rule = self.settings
        if rule.absent is not None:
            return "{device}: no {metric} for {limit}" if rule.metric else "{device}: silent"
        if rule.change is not None:
            within = duration_text(rule.change)
            return f"{{device}}: {{metric}} changed by {{value}} in {within} (limit {{limit}})"
        if rule.presence:
            return "{device} is {value}: {why}"
        if rule.health:
            return "{source} is {value}: {why}"
        how = "above" if rule.above is not None else "below"
        if rule.equals is not None:
            return "{device}: {metric} is {value}"
        if rule.above is not None and rule.below is not None:
            return "{device}: {metric} is {value}, outside of {limit}"
        return f"{{device}}: {{metric}} is {{value}}, {how} {{limit}}"


def written(value: Value | None) -> str:
    """A value for people."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float | int) else value
