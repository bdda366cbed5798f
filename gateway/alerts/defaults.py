"""The rules that are there without any being written. One in the configuration with the name of
one of these takes its place."""

from collections.abc import Iterator, Sequence

from gateway.config.alerting import AlertsSettings, RuleSettings

_RULES: Sequence[dict[str, object]] = (
    {
        "name": "device-silent",
        "presence": "*",
        "state": "stale",
        "message": "{device} is {value}: {why}",
    },
    {
        "name": "bridge-failing",
        "figure": "failing",
        "of": "bridge/*",
        "above": 30,
        # Until it gets through: how long it has not is counted anew by a restart, a reload or a
        # resume, and that is no end of it.
        "clear": 0,
        "severity": "critical",
        "message": "{source} has not got through for {value} s: {why}",
    },
    {
        "name": "queue-filling",
        "figure": "drops_soon",
        "of": "bridge/*",
        "equals": True,
        "severity": "critical",
        "message": "{source} will lose readings to the journal's retention: {why}",
    },
    {
        "name": "bottleneck",
        "figure": "limiting",
        "of": "*",
        "equals": True,
        "for": "2m",
        "clear_for": "1m",
        "message": "{source} holds up the others: {why}",
    },
    {
        "name": "disk-filling",
        "figure": "disk",
        "of": "stage/machine",
        "above": 90,
        "clear": 88,
        "message": "the disk with the gateway's data is {value} % full (limit {limit} %)",
    },
    {
        "name": "disk-refuses",
        "figure": "journal_trouble",
        "of": "stage/journal",
        "equals": True,
        "severity": "critical",
        "message": "the disk takes no data: {why}",
    },
    {
        "name": "under-voltage",
        "figure": "undervoltage",
        "of": "stage/machine",
        "equals": True,
        "clear_for": "1m",
        "message": "under-voltage: the power supply is too weak; use one of 5 V and 3 A or more",
    },
    {
        "name": "over-temperature",
        "figure": "temperature",
        "of": "stage/machine",
        "above": 80,
        "clear": 75,
        "for": "30s",
        "message": "this machine is {value} °C hot (limit {limit} °C); it slows down",
    },
    {
        "name": "clock-unsynchronised",
        "figure": "clock_unset",
        "of": "stage/machine",
        "above": 600,
        "clear": 0,  # likewise
        "message": "the clock has not been set for {value} s; see berrygate doctor",
    },
    {
        "name": "certificate-expiring",
        "figure": "certificate_days",
        "of": "*",
        "below": 14,
        "message": "{source}: a certificate ends in {value} days: {why}",
    },
)


def defaults() -> Iterator[RuleSettings]:
    """Each of them."""
    for rule in _RULES:
        yield RuleSettings.model_validate(rule)


def rules_of(settings: AlertsSettings) -> list[RuleSettings]:
    """Every rule that is in use: the defaults, and those configured."""
    own = {rule.name for rule in settings.rules}
    given = [rule for rule in defaults() if rule.name not in own] if settings.defaults else []
    return [rule for rule in (*given, *settings.rules) if rule.enabled]
