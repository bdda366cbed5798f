"""/metrics: every name the contract promises, with its labels and the house's numbers."""

import math
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.small_house import SmallHouse

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(http: httpx.AsyncClient) -> Samples:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def key(name: str, /, **labels: str) -> Any:
    return f"berrygate_{name}", tuple(sorted(labels.items()))


async def test_promised_names(http: httpx.AsyncClient) -> None:
    found = await scrape(http)
    assert found[key("messages_received_total", source="mqtt")] == 10
    assert found[key("messages_dropped_total", source="mqtt", reason="rate")] == 1
    assert found[key("journal_commit_seconds_count")] == 1
    assert found[key("journal_bytes")] == 4096
    assert found[key("bridge_delivered_total", bridge="home")] == 5
    assert found[key("bridge_failed_total", bridge="home", kind="unavailable")] == 4
    assert found[key("bridge_queued", bridge="home")] == 3
    assert found[key("bridge_outages_total", bridge="home", healed="unaided")] == 2
    assert found[key("bridge_outages_total", bridge="home", healed="aided")] == 1
    assert found[key("bridge_outage_seconds_total", bridge="home")] == 75
    assert found[key("bridge_lag_seconds", bridge="home")] == 2.5
    assert found[key("bridge_breaker_state", bridge="home")] == 1
    assert found[key("pool_connections", bridge="home", state="busy")] == 2
    assert found[key("pool_closed_total", bridge="home", reason="age")] == 5
    assert found[key("pool_waiting", bridge="home")] == 3
    assert found[key("pool_opened_total", bridge="home")] == 9
    assert found[key("pool_timeouts_total", bridge="home")] == 6
    two = {"bridge": "home", "endpoint": "http://two:8086"}
    assert found[key("endpoint_state", **two)] == 3
    assert found[key("endpoint_breaker_state", **two)] == 2
    assert found[key("endpoint_latency_seconds", **two)] == 0.0125
    assert found[key("endpoint_failed_total", **two)] == 7
    assert found[key("endpoint_ejected_total", **two)] == 1
    assert found[key("health_score", kind="bridge", name="home")] == 84
    assert found[key("health_score", kind="gateway", name="gateway")] == 84
    assert math.isnan(found[key("health_score", kind="stage", name="journal")])
    assert found[key("stage_seconds_count", stage="decode")] == 1
    assert not [name for name, _ in found if name.endswith("_created")]


async def test_stages_and_what_limits(http: httpx.AsyncClient) -> None:
    found = await scrape(http)
    for percentile, seconds in {"50": 0.1, "95": 0.2, "99": 0.3, "99.9": 0.4}.items():
        name = key("stage_percentile_seconds", stage="decode", percentile=percentile)
        assert found[name] == seconds
    assert found[key("stage_records_total", stage="decode")] == 60
    assert found[key("stage_queued", stage="decode")] == 3
    assert found[key("stage_utilisation_ratio", stage="decode")] == 0.1
    assert found[key("stage_level", stage="decode")] == 1
    assert found[key("limiting", stage="journal", cause="disk")] == 1
    assert found[key("loop_lag_seconds", percentile="99")] == 0.01
    assert found[key("loop_held_total")] == 2
    assert found[key("loop_held_seconds_total")] == 0.5


async def test_alerts_and_who_was_told(http: httpx.AsyncClient, house: SmallHouse) -> None:
    found = await scrape(http)
    alert = {"rule": "battery-low", "severity": "critical"}
    assert found[key("alerts", state="firing", **alert)] == 1
    assert found[key("alerts", state="pending", **alert)] == 0
    assert found[key("alerts_fired_total", rule="battery-low")] == 2
    told = {"sent_total": 3, "failed_total": 5, "given_up_total": 2, "waiting": 1}
    for name, count in told.items():
        assert found[key(f"alert_notifications_{name}", channel="phone")] == count
    house.alerting = None
    assert not any("alert" in name for name, _ in await scrape(http))


async def test_a_planted_loss_shows(http: httpx.AsyncClient, house: SmallHouse) -> None:
    found = await scrape(http)
    assert found[key("messages_difference", source="mqtt")] == 0
    assert found[key("bridge_difference", bridge="home")] == 0
    house.source.received += 2
    house.pending -= 1
    found = await scrape(http)
    assert found[key("messages_difference", source="mqtt")] == 2
    assert found[key("bridge_difference", bridge="home")] == 1


async def test_the_ledger_adds_up_from_the_metrics_alone(http: httpx.AsyncClient) -> None:
    found = await scrape(http)

    def total(*names: str) -> float:
        wanted = {f"berrygate_{name}" for name in names}
        return sum(value for (name, _), value in found.items() if name in wanted)

    parts = ("journalled_total", "repeated_total", "dead_lettered_total", "dropped_total")
    explained = total(*(f"messages_{part}" for part in (*parts, "in_flight")))
    assert total("messages_received_total") == explained
    parts = ("delivered_total", "dead_lettered_total", "dropped_total", "queued")
    assert total("bridge_matched_total") == total(*(f"bridge_{part}" for part in parts))
