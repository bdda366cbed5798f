"""How long stages take and what limits, in Prometheus' terms; part of `/metrics`."""

import math
from collections.abc import Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_PERCENTILES = {"p50": "50", "p95": "95", "p99": "99", "p999": "99.9"}
_GAUGES = {
    "share": ("stage_share_ratio", "Share of all stages' time, in the last minute"),
    "utilisation": ("stage_utilisation_ratio", "Share of the last minute it was at work"),
    "queue": ("stage_queued", "What waits for the stage"),
}
_LEVELS = {"EXCELLENT": 0, "GOOD": 1, "WARNING": 2, "CRITICAL": 3, "FAILED": 4}


def metrics(found: dict[str, Any]) -> Iterable[Metric]:
    """What `performance` says, as metrics."""
    yield from _stages(found["stages"])
    limiting = _gauge("limiting", "1 for each stage that limits, and why", "stage", "cause")
    for limit in found["limits"]:
        limiting.add_metric([limit["stage"], limit["cause"]], 1)
    yield limiting
    if found["loop"] is not None:
        yield from _loop(found["loop"])


def _stages(stages: dict[str, dict[str, Any]]) -> Iterable[Metric]:
    records = CounterMetricFamily(
        "berrygate_stage_records", "Records that went through", labels=["stage"]
    )
    text = "Durations that this share of the last minute's was not longer than"
    percentiles = _gauge("stage_percentile_seconds", text, "stage", "percentile")
    level = _gauge("stage_level", "0 EXCELLENT, 1 GOOD, 2 WARNING, 3 CRITICAL", "stage")
    for stage, figures in stages.items():
        records.add_metric([stage], figures["records"])
        level.add_metric([stage], _LEVELS.get(figures["level"], math.nan))
        for key, name in _PERCENTILES.items():
            percentiles.add_metric([stage, name], figures[key])
    yield from (records, percentiles, level)
    for key, (name, text) in _GAUGES.items():
        gauge = _gauge(name, text, "stage")
        for stage, figures in stages.items():
            if figures[key] is not None:
                gauge.add_metric([stage], figures[key])
        yield gauge


def _loop(loop: dict[str, Any]) -> Iterable[Metric]:
    lag = _gauge(
        "loop_lag_seconds", "How late the event loop was, in the last minute", "percentile"
    )
    for key, name in (("lag_p50", "50"), ("lag_p99", "99"), ("lag_max", "100")):
        lag.add_metric([name], loop[key])
    held = CounterMetricFamily("berrygate_loop_held", "Times a call held up the event loop")
    held.add_metric([], loop["slow_callbacks"])
    seconds = CounterMetricFamily("berrygate_loop_held_seconds", "Time it was held up so")
    seconds.add_metric([], loop["slow_seconds"])
    yield from (lag, held, seconds)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"berrygate_{name}", text, labels=labels)
