"""Benchmarks run in short, so that they cannot rot; they gate on order and loss, not on time."""

import hashlib
from pathlib import Path

import pytest

from tests.benchmarks import mqtt_bridge, startup
from tests.benchmarks.ingest.measure import ingest, receive

FROZEN = "ca68d88b1d176ab09f17f0dbb51d8903437c920de900d2b696a024c0e1358da4"


def test_the_yardstick_is_what_it_was() -> None:
    script = Path(__file__).parent / "ingest" / "usual_script.py"
    assert hashlib.sha256(script.read_bytes()).hexdigest() == FROZEN


@pytest.mark.parametrize("who", ["ours", "usual"])
def test_ingest_loses_nothing(tmp_path: Path, who: str) -> None:
    result = ingest(who, tmp_path, 2_000, 1_000)
    assert result.lost == 0
    assert result.cpu > 0


@pytest.mark.parametrize("who", ["ours", "paho"])
def test_receive(tmp_path: Path, who: str) -> None:
    assert receive(who, tmp_path, 2_000, 1_000).cpu > 0


def test_startup_comes_in_order(tmp_path: Path) -> None:
    found = startup.once(tmp_path)
    assert found["start to /readyz"] < found["start to own data"]
    assert found["publish to history"] <= found["publish to InfluxDB"]


def test_the_mqtt_bridge_costs_less_than_publish() -> None:
    found = mqtt_bridge.main(2_000)
    assert found["bridge"] * 2 < found["paho"]
