"""From what is seen to alerts: pending, firing, resolved; one for each rule and source."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from gateway.alerts.alert import Alert, State, monotonic_of
from gateway.alerts.rules import Rule
from gateway.core.contracts import Value

MOST = 50_000
"""Alerts that are remembered, active or not; a rule on all devices makes one for each."""
_REWORD = 60.0  # how old the text of an alert that goes on may be (s)
_AGAIN = 600.0  # one that comes back within this has not been over (s), or ten times its hold
_KEPT = 7 * 86_400.0  # how long one that is over is remembered (s)
_SAVE_PENDING = 30.0  # one that is pending is worth a write after this (s)


class Engine:
    """changed: called with each alert whose state is another one. dirty: those that differ from
    what is stored; over: ids of those that are to be forgotten.
    refused: alerts that there was no room for. fired: how often each rule's alerts have since the
    start."""

    def __init__(
        self,
        rules: Iterable[Rule],
        changed: Callable[[Alert], None],
        now: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules: Mapping[str, Rule] = {rule.name: rule for rule in rules}
        self.dirty: set[Alert] = set()
        self.over: set[int] = set()
        self.refused = 0
        self.fired = dict.fromkeys(self.rules, 0)
        self._changed = changed
        self._now = now
        self._monotonic = monotonic
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._going: dict[str, set[Alert]] = {name: set() for name in self.rules}  # not resolved
        self._moving: set[Alert] = set()  # pending, or about to be over: what time alone changes
        self._next = 1
        self._swept = 0.0

    # -- what there is ------------------------------------------------------------------------

    def load(self, alerts: Iterable[Alert]) -> None:
        """Take those that were stored. One whose rule is no more, or looks elsewhere, is over."""
        for alert in alerts:
            self._alerts[alert.rule, alert.source] = alert
            self._next = max(self._next, alert.id + 1)
            alert.began = monotonic_of(alert.since)
            alert.lit = monotonic_of(alert.fired)
            alert.heard = {channel: monotonic_of(when) for channel, when in alert.told.items()}
            rule = self.rules.get(alert.rule)
            if rule is None or not rule.looks_at(alert.source):
                self._leave(alert)
                continue
            if alert.state is not State.RESOLVED:
                self._going[alert.rule].add(alert)
            if alert.state is State.PENDING:
                self._moving.add(alert)

    def all(self) -> list[Alert]:
        """Every alert that is known, the newest first."""
        return sorted(self._alerts.values(), key=lambda alert: -alert.since)

    def active(self) -> list[Alert]:
        """Those that fire."""
        return [alert for alert in self.going() if alert.active]

    def going(self) -> Iterator[Alert]:
        """Those that are not over."""
        return (alert for those in self._going.values() for alert in those)

    def get(self, number: int) -> Alert:
        """The alert with this id. Raises LookupError."""
        for alert in self._alerts.values():
            if alert.id == number:
                return alert
        raise LookupError(f"no alert {number}")

    def fires(self, rule: Rule, source: str) -> bool:
        """Whether this one fires."""
        alert = self._alerts.get((rule.name, source))
        return alert is not None and alert.active

    # -- what is seen -------------------------------------------------------------------------

    def observe(self, rule: Rule, source: str, value: Value | None, why: str = "") -> bool:
        """What a source says now; None: it cannot be told, so nothing changes. Whether it fires or
        is pending, so that also what is well must be told."""
        if value is None:
            return True
        alert = self._alerts.get((rule.name, source))
        breached = rule.breached(value, alert is not None and alert.active)
        if breached is not None and (breached or alert is not None):
            self._judge(rule, source, alert, breached, value, why)
        return bool(breached) or (alert is not None and alert.state is not State.RESOLVED)

    def absent(self, rule: Rule, source: str, absent: bool) -> None:
        """Whether a source has been absent for too long."""
        alert = self._alerts.get((rule.name, source))
        if absent or alert is not None:
            self._judge(rule, source, alert, absent, None, "")

    def gone(self, rule: Rule, seen: set[str]) -> None:
        """A rule has looked at everything; alerts on what is not there any more end."""
        for alert in list(self._going[rule.name]):
            if alert.source not in seen:
                self._judge(rule, alert.source, alert, False, alert.value, "")

    def vanished(self, source: str) -> None:
        """A device is no more: what it was about ends."""
        for alert in [each for each in self.going() if each.source == source]:
            self._leave(alert)

    def _judge(
        self,
        rule: Rule,
        source: str,
        alert: Alert | None,
        breached: bool,
        value: Value | None,
        why: str,
    ) -> None:
        if not breached:
            if alert is not None and alert.state is not State.RESOLVED:
                self._clearing(rule, alert)
            return
        if alert is None or alert.state is State.RESOLVED:
            alert = self._begin(rule, source, alert)
            if alert is None:
                return
        alert.clearing = None
        another = isinstance(value, str) and value != alert.value  # offline now, and not only stale
        alert.value, alert.why = value, why
        if alert.state is State.PENDING:
            self._mature(rule, alert)
        else:
            self._moving.discard(alert)
            if another or self._monotonic() - alert.worded >= _REWORD:
                self._word(rule, alert)

    def _word(self, rule: Rule, alert: Alert) -> None:
        """Whoever is told of it later, or looks, is told what it is by then."""
        alert.worded = self._monotonic()
        alert.message = rule.message(alert.source, alert.value, alert.since, alert.why)

    def _begin(self, rule: Rule, source: str, alert: Alert | None) -> Alert | None:
        if alert is None:
            if len(self._alerts) >= MOST:
                self.refused += 1
                return None
            alert = self._alerts[rule.name, source] = Alert(self._next, rule.name, source)
            self._next += 1
        elif alert.ended:
            soon = max(_AGAIN, 10 * rule.hold(alert.flaps))
            alert.flaps = alert.flaps + 1 if self._ago(alert.ended) < soon else 0
        alert.state = State.PENDING
        alert.since, alert.began = self._now(), self._monotonic()
        self._moving.add(alert)
        self._going[rule.name].add(alert)
        return alert

    def _ago(self, moment: int) -> float:
        return max(self._now() - moment, 0) / 1e9

    def _mature(self, rule: Rule, alert: Alert) -> None:
        """It fires once it has been so for long enough."""
        if self._monotonic() - alert.began < rule.settings.for_:
            return
        alert.state = State.FIRING
        alert.fired, alert.ended, alert.lit = self._now(), 0, self._monotonic()
        alert.acknowledged, alert.by = 0, ""
        alert.count += 1
        self.fired[rule.name] += 1
        alert.severity = rule.settings.severity
        alert.limit = rule.limit
        alert.labels = rule.settings.labels
        alert.steps = {}
        self._word(rule, alert)
        self._moving.discard(alert)
        self._told(alert)

    def _clearing(self, rule: Rule, alert: Alert) -> None:
        if alert.state is State.PENDING:
            self._leave_pending(alert)
            return
        if alert.clearing is None:
            alert.clearing = self._monotonic()
            self._moving.add(alert)
        if self._monotonic() - alert.clearing >= rule.hold(alert.flaps):
            self._leave(alert)

    def _leave_pending(self, alert: Alert) -> None:
        self._forget(alert)
        if alert.count:  # it has fired before: that is kept for a while
            alert.state = State.RESOLVED
            if alert.stored is State.PENDING:
                self.dirty.add(alert)
        else:
            self._drop(alert)

    def _forget(self, alert: Alert) -> None:
        self._moving.discard(alert)
        self._going.get(alert.rule, set()).discard(alert)

    def _leave(self, alert: Alert) -> None:
        self._forget(alert)
        if alert.state is State.PENDING and not alert.count:
            self._drop(alert)
        elif alert.state is not State.RESOLVED:
            alert.state = State.RESOLVED
            alert.ended, alert.clearing = self._now(), None
            self._told(alert)

    def _told(self, alert: Alert) -> None:
        self.dirty.add(alert)
        self._changed(alert)

    def _drop(self, alert: Alert) -> None:
        del self._alerts[alert.rule, alert.source]
        self.dirty.discard(alert)
        if alert.stored is not None:
            self.over.add(alert.id)

    # -- what time alone changes, and people --------------------------------------------------

    def tick(self) -> None:
        """Once a second."""
        for alert in list(self._moving):
            rule = self.rules[alert.rule]
            if alert.state is State.PENDING:
                self._mature(rule, alert)
                if alert.stored is not State.PENDING and self._waits_long(alert):
                    self.dirty.add(alert)
            elif alert.clearing is not None:
                self._clearing(rule, alert)
        if self._monotonic() - self._swept > _AGAIN:
            self._swept = self._monotonic()
            self._sweep()

    def _waits_long(self, alert: Alert) -> bool:
        """Whether a restart may not begin its wait anew."""
        waited = self._monotonic() - alert.began
        return alert.state is State.PENDING and waited > _SAVE_PENDING

    def _sweep(self) -> None:
        for alert in list(self._alerts.values()):
            if alert.state is State.RESOLVED and self._ago(alert.ended) > _KEPT:
                self._drop(alert)

    def acknowledge(self, alert: Alert, by: str) -> None:
        """Somebody has seen it."""
        alert.acknowledged, alert.by = self._now(), by
        self._told(alert)
