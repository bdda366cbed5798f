"""`/metrics`: the gateway in Prometheus' terms. The names are promises; see docs/http.md."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from gateway.web import alert_metrics as alerts
from gateway.web import stage_metrics as stages
from gateway.web.house import House
from gateway.web.pool_metrics import BREAKER, pools

__all__ = ["CONTENT_TYPE_LATEST", "Exposition"]

_SOURCE_COUNTERS = {
    "received": ("messages_received", "Frames that came in"),
    "journalled": ("messages_journalled", "Frames whose readings are in the journal"),
    "repeated": ("messages_repeated", "Frames sent again that were in the journal already"),
    "dead_lettered": ("messages_dead_lettered", "Frames kept as dead letters"),
}
_BRIDGE_COUNTERS = {
    "matched": ("bridge_matched", "Readings journalled for the bridge"),
    "delivered": ("bridge_delivered", "Readings the bridge's other side has taken"),
    "dead_lettered": ("bridge_dead_lettered", "Readings kept as dead letters"),
    "replayed": ("bridge_replayed", "Readings delivered again on request"),
}


class Exposition:
    """Renders a house for Prometheus."""

    def __init__(self, house: House) -> None:
        # A second series of when each counter began: half as many again, for nothing.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._house = house
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)

    def __call__(self) -> bytes:
        """The text exposition format."""
        return b"".join(
            generate_latest(registry) for registry in (self._house.registry, self._own, self)
        )

    def collect(self) -> Iterator[Metric]:
        """What the house's status says, as metrics."""
        status = self._house.status()
        yield from _sources(status["ledger"]["sources"])
        yield from _bridges(self._house.bridges())
        yield from _bridge_ledgers(status["ledger"]["bridges"])
        yield from _health(status["health"])
        yield from _gateway(status)
        yield from stages.metrics(self._house.performance())
        if self._house.alerting is not None:
            yield from alerts.metrics(self._house.alerting)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"berrygate_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"berrygate_{name}", text, labels=labels)


def _sources(ledgers: dict[str, dict[str, Any]]) -> Iterable[Metric]:
    for key, (name, text) in _SOURCE_COUNTERS.items():
        counter = _counter(name, text, "source")
        for source, ledger in ledgers.items():
            counter.add_metric([source], ledger[key])
        yield counter
    dropped = _counter("messages_dropped", "Frames dropped, by reason", "source", "reason")
    flying = _gauge("messages_in_flight", "Frames that came in and wait for the commit", "source")
    unexplained = _gauge("messages_difference", "Frames nobody can explain", "source")
    for source, ledger in ledgers.items():
        for reason, count in ledger["dropped"].items():
            dropped.add_metric([source, reason], count)
        flying.add_metric([source], ledger["in_flight"])
        unexplained.add_metric([source], ledger["difference"])
    yield from (dropped, flying, unexplained)


def _bridge_ledgers(ledgers: dict[str, dict[str, Any]]) -> Iterable[Metric]:
    for key, (name, text) in _BRIDGE_COUNTERS.items():
        counter = _counter(name, text, "bridge")
        for bridge, ledger in ledgers.items():
            counter.add_metric([bridge], ledger[key])
        yield counter
    dropped = _counter("bridge_dropped", "Readings dropped, by reason", "bridge", "reason")
    queued = _gauge("bridge_queued", "Readings journalled and not delivered yet", "bridge")
    unexplained = _gauge("bridge_difference", "Readings nobody can explain", "bridge")
    for bridge, ledger in ledgers.items():
        for reason, count in ledger["dropped"].items():
            dropped.add_metric([bridge, reason], count)
        queued.add_metric([bridge], ledger["pending"])
        unexplained.add_metric([bridge], ledger["difference"])
    yield from (dropped, queued, unexplained)


def _bridges(bridges: list[dict[str, Any]]) -> Iterable[Metric]:
    failed = _counter("bridge_failed", "Attempts that failed, by kind of error", "bridge", "kind")
    lag = _gauge("bridge_lag_seconds", "Age of the oldest reading not delivered yet", "bridge")
    breaker = _gauge("bridge_breaker_state", "0 closed, 1 half open, 2 open", "bridge")
    for bridge in bridges:
        name = bridge["name"]
        for kind, count in bridge.get("failed", {}).items():
            failed.add_metric([name, kind], count)
        lag.add_metric([name], bridge.get("oldest") or 0.0)
        breaker.add_metric([name], BREAKER.get(bridge.get("breaker", ""), math.nan))
    yield from (failed, lag, breaker, *pools(bridges), *_outages(bridges))


def _outages(bridges: list[dict[str, Any]]) -> Iterable[Metric]:
    over = _counter("bridge_outages", "Outages that are over", "bridge", "healed")
    down = _counter("bridge_outage_seconds", "How long they took, all together", "bridge")
    for bridge in bridges:
        found = bridge.get("troubles")
        if found is not None:
            over.add_metric([bridge["name"], "unaided"], found["unaided"])
            over.add_metric([bridge["name"], "aided"], found["outages"] - found["unaided"])
            down.add_metric([bridge["name"]], found["down"])
    yield from (over, down)


def _health(health: dict[str, Any]) -> Iterable[Metric]:
    score = _gauge("health_score", "Health, 0 to 100; NaN while unknown", "kind", "name")
    parts = {"gateway/gateway": health, **health["components"]}
    for path, part in parts.items():
        kind, _, name = path.partition("/")
        score.add_metric([kind, name], math.nan if part["level"] == "UNKNOWN" else part["score"])
    text = "Share of component-seconds with a known, fresh state"
    visible = _gauge("health_visibility_ratio", text)
    if "visibility" in health:
        visible.add_metric([], health["visibility"])
    levels = _gauge("devices_by_level", "Devices, by level of their health", "level")
    for level, count in health.get("devices", {}).items():
        levels.add_metric([level], count)
    yield from (score, visible, levels)


def _gateway(status: dict[str, Any]) -> Iterable[Metric]:
    info = _gauge("info", "Always 1; labels say what runs", "gateway", "version")
    info.add_metric([status["id"], status["version"]], 1)
    size = _gauge("journal_bytes", "Size of the journal")
    size.add_metric([], status["journal"]["bytes"])
    devices = _gauge("devices", "Known devices")
    devices.add_metric([], status["devices"]["count"])
    dropped = _counter("broker_dropped", "Messages the broker itself threw away")
    if (count := status["broker"].get("dropped")) is not None:
        dropped.add_metric([], count)
    refused = _counter("limit_refused", "Frames refused because of a limit", "limit")
    limits = _gauge("limit", "What a limit is set to", "limit")
    used = _gauge("limit_used", "How much of a limit is used", "limit")
    for name, each in status["limits"].items():
        refused.add_metric([name], each["refused"])
        limits.add_metric([name], each["limit"])
        if each["used"] is not None:
            used.add_metric([name], each["used"])
    yield from (refused, limits, used)
    uptime = _gauge("uptime_seconds", "Time since the gateway started")
    uptime.add_metric([], status["uptime"])
    yield from (info, size, devices, dropped, uptime)
