"""Names in the section `alerts`: each once, and channels that are there."""

from collections.abc import Iterator
from difflib import get_close_matches

from gateway.config.alerting import MQTT, AlertsSettings
from gateway.config.problems import Problem
from gateway.config.source import Source


def check_alerts(source: Source, alerts: AlertsSettings) -> Iterator[Problem]:
    """Names that are taken twice, and channels that are not there."""
    for section in ("rules", "channels", "routes"):
        seen: set[str] = set()
        for number, item in enumerate(getattr(alerts, section)):
            if item.name is not None and item.name in seen:
                place = ("alerts", section, number, "name")
                fix = "give it another name"
                yield source.problem(place, f'"{item.name}" is taken', fix=fix)
            seen.add(item.name)
    known = [*(channel.name for channel in alerts.channels), MQTT]
    for number, route in enumerate(alerts.routes):
        yield from _unknown(source, ("alerts", "routes", number), route.channels, known)
        for step, escalation in enumerate(route.escalate):
            where = ("alerts", "routes", number, "escalate", step)
            yield from _unknown(source, where, escalation.channels, known)


def _unknown(
    source: Source, place: tuple[str | int, ...], named: tuple[str, ...], known: list[str]
) -> Iterator[Problem]:
    for position, name in enumerate(named):
        if name not in known:
            close = get_close_matches(name, known, 1)
            fix = close[0] if close else "add it to alerts.channels"
            where = (*place, "channels", position)
            hint = f"known here: {', '.join(known)}"
            yield source.problem(where, f'no channel "{name}"', hint=hint, fix=fix)
