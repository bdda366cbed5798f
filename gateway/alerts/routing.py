"""Who is told of what, and when: routes, groups, quiet hours, repeats, escalation.

Nothing here sends. What a channel is to be told is decided and handed on as a `Notification`;
what it has been told is noted in the alert, and both are stored together.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.alerts.alert import Alert, State
from gateway.alerts.silences import Silences, labels_fit
from gateway.alerts.windows import Window
from gateway.alerts.wording import Notification, worded
from gateway.config.alerting import MQTT, AlertsSettings, RouteSettings
from gateway.core.ids import device_filter

_USUAL = ("warning", "critical")


@dataclass(slots=True)
class Group:
    """Alerts that one channel is told of in one message. due: when (monotonic); latest: no later,
    however many more come."""

    due: float
    latest: float
    alerts: dict[int, Alert] = field(default_factory=dict)


_Key = tuple[str, str, bool, tuple[str, ...]]  # route, channel, whether it is said again, by what


class Route:
    """One of the configuration. name: its own."""

    def __init__(self, name: str, settings: RouteSettings) -> None:
        self.name = name
        self.settings = settings
        self._severities = settings.severity or _USUAL
        self._rules = device_filter(settings.rules)
        self._sources = device_filter(settings.sources)
        later = [channel for step in settings.escalate for channel in step.channels]
        self.reaches = [c for c in dict.fromkeys([*settings.channels, *later]) if c != MQTT]
        self.channels = [c for c in dict.fromkeys(settings.channels) if c != MQTT]

    def takes(self, alert: Alert) -> bool:
        """Whether it is for this alert."""
        return (
            alert.severity in self._severities
            and self._rules(alert.rule)
            and self._sources(alert.source)
            and labels_fit(self.settings.labels, alert.labels)
        )

    def told_of(self, alert: Alert) -> list[str]:
        """Channels that know of it or are to, those among them that it was escalated to."""
        if not alert.active:
            return self.reaches
        taken = self.settings.escalate[: alert.steps.get(self.name, 0)]
        later = [channel for step in taken for channel in step.channels if channel != MQTT]
        return [*self.channels, *later]

    def key(self, alert: Alert) -> tuple[str, ...]:
        """What alerts that go into one message have in common."""
        fixed = {"rule": alert.rule, "source": alert.source, "severity": alert.severity}
        return tuple(fixed.get(by, alert.labels.get(by, "")) for by in self.settings.group_by)


class Router:
    """See the module. waits: by rule, its own time to wait for others (s). noted: called with each
    alert that is to be stored because of what was told."""

    def __init__(
        self,
        settings: AlertsSettings,
        gateway: str,
        silences: Silences,
        waits: Mapping[str, float | None],
        noted: Callable[[Alert], None],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.routes = [Route(name, route) for name, route in settings.named_routes.items()]
        self._gateway = gateway
        self._silences = silences
        self._waits = waits
        self._noted = noted
        self._monotonic = monotonic
        self._now = now
        self._quiet = [
            (Window(q), frozenset(q.except_), device_filter(q.channels)) for q in settings.quiet
        ]
        self._groups: dict[_Key, Group] = {}

    def note(self, alert: Alert) -> None:
        """An alert began, was acknowledged, or is over: those who are to know are told soon."""
        for route in self.routes:
            if not route.takes(alert):
                continue
            for channel in route.told_of(alert):
                if self._news(alert, channel):
                    self._gather(route, channel, alert)

    def _news(self, alert: Alert, channel: str) -> bool:
        if alert.active:
            return channel not in alert.told and not alert.acknowledged
        return alert.state is State.RESOLVED and channel in alert.told

    def _gather(self, route: Route, channel: str, alert: Alert, again: bool = False) -> None:
        own = self._waits.get(alert.rule)
        wait = route.settings.group_wait if own is None else own
        now, key = self._monotonic(), (route.name, channel, again, route.key(alert))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(now + wait, now + 2 * wait)
        if alert.id not in group.alerts:
            group.due = min(now + wait, group.latest)
            group.alerts[alert.id] = alert

    def decide(self, active: list[Alert]) -> list[Notification]:
        """What is to be told now, noted in the alerts; those that are silenced, or whose channel
        has quiet hours, wait. Called once or more a second."""
        found = []
        self._remind(active)
        now = self._monotonic()
        for key, group in list(self._groups.items()):
            if group.due > now:
                continue
            found += self._flush(key, group)
            if not group.alerts:
                del self._groups[key]
            # Those that are held are looked at again; thousands of them less often.
            group.due = now + min(len(group.alerts) / 1_000, 5.0)
        return found

    def _flush(self, key: _Key, group: Group) -> list[Notification]:
        route, channel, again, _ = key
        told: dict[str, list[Alert]] = {"firing": [], "still": [], "resolved": []}
        for number, alert in list(group.alerts.items()):
            if self._is_no_news(alert, channel, again):
                del group.alerts[number]
            elif not self._held(alert, channel):
                del group.alerts[number]
                self._tell(alert, channel, told)
        if not self._tells_end(route):
            told["resolved"].clear()
        return [
            worded(self._gateway, channel, kind, alerts, self._now())
            for kind, alerts in told.items()
            if alerts
        ]

    def _is_no_news(self, alert: Alert, channel: str, again: bool) -> bool:
        """Somebody knows already; or it came and went while nobody was to be told."""
        if alert.active:
            return bool(alert.acknowledged) or (channel in alert.told and not again)
        return channel not in alert.told or alert.state is not State.RESOLVED

    def _tell(self, alert: Alert, channel: str, told: dict[str, list[Alert]]) -> None:
        self._noted(alert)
        if not alert.active:
            del alert.told[channel]
            alert.heard.pop(channel, None)
            told["resolved"].append(alert)
            return
        told["still" if channel in alert.told else "firing"].append(alert)
        alert.told[channel] = self._now()
        alert.heard[channel] = self._monotonic()

    def _tells_end(self, name: str) -> bool:
        return any(route.name == name and route.settings.resolved for route in self.routes)

    def _held(self, alert: Alert, channel: str) -> bool:
        if self._silences.until(alert) is not None:
            return True
        now = self._now() / 1e9
        return any(
            alert.severity not in lets and channels(channel) and window.until(now) is not None
            for window, lets, channels in self._quiet
        )

    # -- again, and to others -----------------------------------------------------------------

    def _remind(self, active: list[Alert]) -> None:
        """Repeats and escalations that are due go into groups."""
        timed = [r for r in self.routes if r.settings.repeat is not None or r.settings.escalate]
        if not timed:
            return
        for alert in active:
            if alert.acknowledged or self._silences.until(alert) is not None:
                continue
            for route in timed:
                if route.takes(alert):
                    self._repeat(route, alert)
                    self._escalate(route, alert)

    def _repeat(self, route: Route, alert: Alert) -> None:
        if route.settings.repeat is None:
            return
        for channel in route.channels:
            heard = alert.heard.get(channel)
            if heard is not None and self._monotonic() - heard >= route.settings.repeat:
                self._gather(route, channel, alert, again=True)

    def _escalate(self, route: Route, alert: Alert) -> None:
        heard = [alert.heard[c] for c in route.channels if c in alert.heard]
        if MQTT in route.settings.channels:
            heard.append(alert.lit)  # its topic says so from the first moment on
        done = alert.steps.get(route.name, 0)
        for step in route.settings.escalate[done:]:
            if not heard or self._monotonic() - min(heard) < step.after:
                return
            for channel in step.channels:
                if channel != MQTT:
                    self._gather(route, channel, alert, again=True)
            done += 1
            alert.steps[route.name] = done
            self._noted(alert)
