"""The pools of the bridges in Prometheus' terms."""

import math
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

BREAKER = {"closed": 0, "half_open": 1, "open": 2}
_STATE = {"HEALTHY": 0, "DEGRADED": 1, "RECOVERING": 2, "FAILED": 3}


def pools(bridges: list[dict[str, Any]]) -> Iterator[Metric]:
    """Connections of each bridge, and how each of its endpoints is doing."""
    found = [(bridge["name"], bridge["pool"]) for bridge in bridges if "pool" in bridge]
    connections = GaugeMetricFamily(
        "berrygate_pool_connections", "Connections to the other side", labels=("bridge", "state")
    )
    closed = CounterMetricFamily(
        "berrygate_pool_closed", "Connections closed, by reason", labels=("bridge", "reason")
    )
    for name, pool in found:
        for state in ("idle", "busy"):
            connections.add_metric([name, state], pool[state])
        for reason, count in pool.get("closed", {}).items():
            closed.add_metric([name, reason], count)
    yield from (connections, closed)
    yield _gauge("pool_waiting", "Writes that wait for a connection", "waiting", found)
    yield _counter("pool_opened", "Connections opened", "opened", found)
    yield _counter("pool_timeouts", "Writes that waited too long", "timeouts", found)
    yield from _endpoints(found)


def _endpoints(found: list[tuple[str, dict[str, Any]]]) -> Iterator[Metric]:
    labels = ("bridge", "endpoint")
    state = GaugeMetricFamily(
        "berrygate_endpoint_state", "0 healthy, 1 degraded, 2 recovering, 3 failed", labels=labels
    )
    breaker = GaugeMetricFamily(
        "berrygate_endpoint_breaker_state", "0 closed, 1 half open, 2 open", labels=labels
    )
    latency = GaugeMetricFamily(
        "berrygate_endpoint_latency_seconds", "What a write takes there, peak EWMA", labels=labels
    )
    failed = CounterMetricFamily(
        "berrygate_endpoint_failed", "Writes and connections that failed there", labels=labels
    )
    ejected = CounterMetricFamily(
        "berrygate_endpoint_ejected", "Times its breaker opened", labels=labels
    )
    for name, pool in found:
        for endpoint in pool.get("endpoints", ()):
            labelled = [name, endpoint["name"]]
            state.add_metric(labelled, _STATE.get(endpoint["state"], math.nan))
            breaker.add_metric(labelled, BREAKER.get(endpoint["breaker"], math.nan))
            latency.add_metric(labelled, endpoint["latency"])
            failed.add_metric(labelled, endpoint["failed"])
            ejected.add_metric(labelled, endpoint["ejected"])
    yield from (state, breaker, latency, failed, ejected)


def _gauge(name: str, text: str, key: str, found: list[tuple[str, dict[str, Any]]]) -> Metric:
    gauge = GaugeMetricFamily(f"berrygate_{name}", text, labels=("bridge",))
    for bridge, pool in found:
        gauge.add_metric([bridge], pool.get(key, 0))
    return gauge


def _counter(name: str, text: str, key: str, found: list[tuple[str, dict[str, Any]]]) -> Metric:
    counter = CounterMetricFamily(f"berrygate_{name}", text, labels=("bridge",))
    for bridge, pool in found:
        counter.add_metric([bridge], pool.get(key, 0))
    return counter
