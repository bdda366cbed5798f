"""Benchmarks run in short, so that they cannot rot; they gate on order and loss, not on time."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.benchmarks import chart, mqtt_bridge, profiling, replay, startup
from tests.benchmarks.ingest.measure import ingest, receive
from tests.benchmarks.load import cases
from tests.benchmarks.load.fleet import fleet
from tests.support.disks import needs_loop
from tests.support.faults import FULL

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


@pytest.mark.alone
def test_the_mqtt_bridge_costs_less_than_publish() -> None:
    found = mqtt_bridge.main(2_000)
    assert found["bridge"] * 2 < found["paho"]


def test_a_journal_is_read_again_whole(tmp_path: Path) -> None:
    assert replay.once(tmp_path, 10, 600)  # it looks itself whether anything is missing


def test_the_chart_is_drawn_of_the_figures_that_are_kept() -> None:
    assert chart.CHART.read_text() == chart.chart(json.loads(chart.FIGURES.read_text()))


@pytest.mark.alone
@pytest.mark.timeout(1_500)
def test_forty_thousand_messages_a_second(tmp_path: Path) -> None:
    found = cases.sustained(tmp_path, 40_000, 600 if FULL else 60, 1_000)
    print(cases.printed("sustained", found))
    assert found["lost at the sink"] == found["lost in history"] == found["difference"] == 0


@pytest.mark.alone
@pytest.mark.timeout(1_500)
def test_ten_thousand_devices(tmp_path: Path) -> None:
    found = cases.sustained(tmp_path, 10_000, 600 if FULL else 60, 10_000)
    print(cases.printed("devices", found))
    assert found["lost at the sink"] == found["lost in history"] == found["difference"] == 0
    assert found["memory MB"] <= 200


@pytest.mark.alone
@pytest.mark.timeout(1_500)
def test_twelve_thousand_devices_with_connections_of_their_own(tmp_path: Path) -> None:
    found = fleet(tmp_path, 10_000, 2_000, 600 if FULL else 60)
    print(cases.printed("fleet", found))
    assert found["lost at the sink"] == found["lost in history"] == found["difference"] == 0
    assert found["wrong values"] == found["CoAP not answered"] == found["twice in history"] == 0
    assert found["never told of"] == found["told offline and there"] == 0
    assert found["told online and gone"] == 0
    assert found["devices known"] == 12_000
    assert found["memory MB"] <= 220


@pytest.mark.alone
def test_latency_with_everything_at_its_least_is_the_lesser(tmp_path: Path) -> None:
    usual = cases.latency(tmp_path / "usual", 1_000, 5, least=False)
    least = cases.latency(tmp_path / "least", 1_000, 5, least=True)
    print(cases.printed("usual", usual), cases.printed("least", least))
    assert usual["lost"] == least["lost"] == 0
    assert least["p99 ms"] < usual["p50 ms"]


@needs_loop
def test_the_card_saver_writes_less(tmp_path: Path) -> None:
    """Over some commits of the saver: of a single one, that another falls into it decides."""
    usual = cases.wear(tmp_path / "usual", 10, 40, "1s")
    saved = cases.wear(tmp_path / "saved", 10, 40, "10s")
    assert saved["bytes/message"] < usual["bytes/message"] / 2


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_profiling_costs_little(tmp_path: Path) -> None:
    """3 % is the promise; between two runs of one and the same a busy machine makes more."""
    found = profiling.compare(tmp_path, 10_000, 20 if FULL else 5, 5 if FULL else 1)
    print(cases.printed("profiling", found))
    assert found["on/off"] <= (1.03 if FULL else 1.25)
