"""Rules that look at the gateway's own parts, once a second: health, presence, figures."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from gateway.alerts.changing import Change
from gateway.alerts.rules import Rule
from gateway.core.contracts import Value
from gateway.core.figures import Figure, Figures
from gateway.stages.health import Component, Health, Level

WHOLE = "gateway"
"""The gateway as a whole, among the parts whose health is looked at."""
_SETTLE = 30.0  # after the start, until a part that is not there is taken for gone (s)


class Observe(Protocol):
    """What a source says now, for one rule; None: it cannot be told."""

    def __call__(self, rule: Rule, source: str, value: Value | None, why: str = "") -> bool: ...


class PartRules:
    """See the module. gone: told which sources a rule has seen, when one may be there no more."""

    def __init__(
        self,
        rules: Sequence[Rule],
        health: Health,
        figures: Figures,
        observe: Observe,
        gone: Callable[[Rule, set[str]], None],
    ) -> None:
        self._rules = [rule for rule in rules if not rule.settings.device]
        self._health = health
        self._figures = figures
        self._observe = observe
        self._gone = gone
        self._began = time.monotonic()
        self._fits: dict[str, dict[str, bool]] = {rule.name: {} for rule in self._rules}
        self._changes: dict[tuple[str, str], Change] = {}
        self._last: dict[str, dict[str, Value | None]] = {rule.name: {} for rule in self._rules}

    def look(self) -> None:
        """Look at everything."""
        figures = self._figures() if any(r.settings.figure for r in self._rules) else {}
        settled = time.monotonic() - self._began > _SETTLE
        for rule in self._rules:
            before, now = self._last[rule.name], dict[str, Value | None]()
            for source, said, why in self._said(rule, figures):
                value = now[source] = self._followed(rule, source, said)
                # The same again is no news, and there may be ten thousand of them.
                if source not in before or before[source] != value:
                    self._observe(rule, source, value, why)
            self._forget(rule, now)
            self._last[rule.name] = now
            if settled:
                self._gone(rule, set(now))

    def _forget(self, rule: Rule, there: Mapping[str, Value | None]) -> None:
        """What a part that is gone had changed: one of its name that comes is another one."""
        if rule.settings.change is not None:
            for source in self._last[rule.name].keys() - there.keys():
                self._changes.pop((rule.name, source), None)

    def _followed(self, rule: Rule, source: str, value: Value | None) -> Value | None:
        """The value, or how much it has changed where the rule looks at that."""
        within = rule.settings.change
        if within is None or value is None:
            return value
        key = rule.name, source
        if key not in self._changes:
            self._changes[key] = Change(within)
        return self._changes[key].follow(time.monotonic_ns(), value)

    def _said(
        self, rule: Rule, figures: Mapping[str, Mapping[str, Figure]]
    ) -> Iterator[tuple[str, Value | None, str]]:
        settings = rule.settings
        if settings.figure is not None:
            for source, known in figures.items():
                if self._looks_at(rule, source):
                    figure = known.get(settings.figure)
                    if figure is not None:
                        yield source, figure.value, figure.why
        elif settings.presence:
            for device, part in self._health.devices.items():
                if self._looks_at(rule, device):
                    yield device, *presence(part)
        else:
            yield from self._health_of(rule)

    def _health_of(self, rule: Rule) -> Iterator[tuple[str, Value | None, str]]:
        if self._looks_at(rule, WHOLE):
            yield self._whole(rule)
        of_devices = ((f"device/{name}", part) for name, part in self._health.devices.items())
        for source, part in (*self._health.components.items(), *of_devices):
            if not self._looks_at(rule, source):
                continue
            why = part.reasons[0].text if part.reasons else ""
            if part.level is Level.UNKNOWN:
                yield source, None, why
            else:
                yield source, part.level.value if rule.settings.level else part.score, why

    def _whole(self, rule: Rule) -> tuple[str, Value | None, str]:
        told = self._health.summary()
        why = str(told["reasons"][0]["text"]) if told["reasons"] else ""
        if told["level"] == Level.UNKNOWN.value:
            return WHOLE, None, why
        return WHOLE, told["level" if rule.settings.level else "score"], why

    def _looks_at(self, rule: Rule, source: str) -> bool:
        known = self._fits[rule.name]
        fits = known.get(source)
        if fits is None:
            fits = known[source] = rule.fits(source)
        return fits


def presence(part: Component) -> tuple[str | None, str]:
    """(online, stale or offline, why) of a device by its health; None while nobody can tell."""
    if part.level is Level.UNKNOWN:
        return None, ""
    stale = None
    if part.reasons:  # ten thousand times a second, and mostly there are none
        stale = next((reason for reason in part.reasons if reason.metric == "staleness"), None)
    if stale is None:
        return "online", "readings arrive"
    away = part.level in (Level.FAILED, Level.CRITICAL)
    return "offline" if away else "stale", stale.text
