"""Names in the section `alerts`: each once, and channels and bridges that are there."""

from collections.abc import Iterator
from difflib import get_close_matches

from gateway.config.alerting import MQTT, AlertsSettings
from gateway.config.models import Config
from gateway.config.problems import Problem
from gateway.config.source import Source

_BRIDGE = "bridge/"


def check_alerts(source: Source, config: Config) -> Iterator[Problem]:
    """Names that are taken twice, and channels and bridges that are not there."""
    alerts = config.alerts
    yield from _bridges(source, alerts, list(config.named_bridges))
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


def _bridges(source: Source, alerts: AlertsSettings, known: list[str]) -> Iterator[Problem]:
    """A rule on a bridge that is misspelt would be silent for ever. Devices may come later."""
    for number, rule in enumerate(alerts.rules):
        for key, named in (("of", rule.of), ("health", rule.health)):
            for part in named:
                name = part.removeprefix(_BRIDGE)
                if name == part or name in known or set(name) & set("*?["):
                    continue
                close = get_close_matches(name, known, 1)
                fix = f"{key}: {_BRIDGE}{close[0] if close else '*'}"
                hint = f"known here: {', '.join(known) or 'none'}"
                place = ("alerts", "rules", number, key)
                yield source.problem(place, f'no bridge "{name}"', hint=hint, fix=fix)


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
