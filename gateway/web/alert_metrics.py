"""Alerts, and how those are told who are to know, in Prometheus' terms; part of `/metrics`."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.runtime.alerting import Alerting

_COUNTERS = {
    "sent": "Messages that the channel has taken",
    "failed": "Attempts that it has not taken; they are made again",
    "given_up": "Messages that it was never told",
}


def metrics(alerting: Alerting) -> Iterable[Metric]:
    """What there is, and what each channel has been told."""
    alerts = GaugeMetricFamily(
        "berrygate_alerts", "Alerts that are not over", labels=("rule", "state", "severity")
    )
    for each in alerting.counts():
        alerts.add_metric([each["rule"], each["state"], each["severity"]], each["count"])
    fired = CounterMetricFamily(
        "berrygate_alerts_fired", "Times an alert of the rule began to fire", labels=("rule",)
    )
    for rule, count in alerting.fired().items():
        fired.add_metric([rule], count)
    yield from (alerts, fired)
    yield from _channels(alerting)


def _channels(alerting: Alerting) -> Iterable[Metric]:
    channels = alerting.channels()
    for key, text in _COUNTERS.items():
        counter = CounterMetricFamily(
            f"berrygate_alert_notifications_{key}", text, labels=("channel",)
        )
        for channel in channels:
            counter.add_metric([channel["name"]], channel[key])
        yield counter
    waiting = GaugeMetricFamily(
        "berrygate_alert_notifications_waiting", "Messages it has not taken", labels=("channel",)
    )
    for channel in channels:
        waiting.add_metric([channel["name"]], channel["waiting"])
    yield waiting
