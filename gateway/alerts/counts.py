"""How many alerts there are, by what a chart can tell them apart."""

from collections import Counter
from typing import Any

from gateway.alerts.alert import State
from gateway.alerts.engine import Engine
from gateway.alerts.silences import Silences

_SHOWN = (State.PENDING, State.FIRING, State.ACKNOWLEDGED, State.SILENCED)

_Key = tuple[str, str, str]  # rule, state, severity


def counts(engine: Engine, silences: Silences) -> list[dict[str, Any]]:
    """Alerts that are not over, by rule, state and severity; 0 where there is none, so that a
    chart shows that, and not a gap."""
    found: Counter[_Key] = Counter()
    for name, rule in engine.rules.items():
        found.update({(name, state.value, rule.settings.severity): 0 for state in _SHOWN})
    for alert in engine.going():
        silenced = alert.active and silences.until(alert) is not None
        severity = alert.severity if alert.active else engine.rules[alert.rule].settings.severity
        found[alert.rule, alert.shown(silenced).value, severity] += 1
    return [
        {"rule": rule, "state": state, "severity": severity, "count": count}
        for (rule, state, severity), count in found.items()
    ]
