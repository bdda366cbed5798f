"""What a channel is told, in words; and what is kept of it until it has been told."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.alerts.alert import Alert
from gateway.config.alerting import SEVERITIES

_LISTED = 15  # alerts that are written out in one message
_LONGEST = 3_000  # characters of a message: most services cut longer ones
_HEADS = {"firing": "", "still": "still: ", "resolved": "over: "}
_ICONS = {"info": "ℹ", "warning": "▲", "critical": "⬣"}


@dataclass(slots=True)
class Notification:
    """One message to one channel. kind: firing, still or resolved. severity: of the worst alert
    in it; alerts: how many; created: ns. id: 0 until it is stored."""

    channel: str
    kind: str
    severity: str
    title: str
    body: str
    alerts: int
    created: int
    id: int = 0


def worded(
    gateway: str, channel: str, kind: str, alerts: Sequence[Alert], now: int
) -> Notification:
    """One message about all of these. now: ns."""
    worst = max(alerts, key=lambda alert: SEVERITIES.index(alert.severity)).severity
    title = f"{gateway}: {_HEADS[kind]}{_subject(alerts, worst)}"
    lines = [_line(alert, kind) for alert in alerts[:_LISTED]]
    if len(alerts) > _LISTED:
        lines.append(f"… and {len(alerts) - _LISTED:,} more")
    return Notification(
        channel, kind, worst, title[:250], "\n".join(lines)[:_LONGEST], len(alerts), now
    )


def _subject(alerts: Sequence[Alert], worst: str) -> str:
    if len(alerts) == 1:
        return f"{worst} {alerts[0].rule} {alerts[0].source}"
    rules = Counter(alert.rule for alert in alerts).most_common(3)
    names = ", ".join(f"{name} ({count:,})" for name, count in rules)
    return f"{len(alerts):,} alerts, {worst}: {names}"


def _line(alert: Alert, kind: str) -> str:
    when = alert.ended if kind == "resolved" else alert.since
    clock = time.strftime("%H:%M:%S", time.localtime(when / 1e9))
    if kind == "resolved":
        return f"✔ {alert.message}; over since {clock}"
    return f"{_ICONS[alert.severity]} {alert.message}; since {clock}"


def merged(waiting: Sequence[Notification]) -> Notification:
    """One message instead of several that waited for the same channel."""
    if len(waiting) == 1:
        return waiting[0]
    worst = max(waiting, key=lambda each: SEVERITIES.index(each.severity)).severity
    first = waiting[0]
    gateway = first.title.partition(":")[0]
    body = "\n\n".join(f"{each.title}\n{each.body}" for each in waiting)
    kinds = {each.kind for each in waiting}
    count = sum(each.alerts for each in waiting)
    return Notification(
        first.channel,
        kinds.pop() if len(kinds) == 1 else "firing",
        worst,
        f"{gateway}: {len(waiting)} messages, {worst}",
        body,
        count,
        first.created,
    )
