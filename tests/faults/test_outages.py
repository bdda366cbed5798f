"""Outages of what is around the gateway, and bad data among the good."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, gateway
from tests.support.influx import influx_1
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher, payload

DEVICES = 5
BAD = (
    b"{", b"", b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 5_000, b"not json", b'{"a": 1e999}', b"{}",
    b'{"time": "yesterday", "a": 1}', b'{"": 1}', b"null", b'{"a": "' + b"x" * 5_000 + b'"}',
)  # fmt: skip


def mixed(number: int) -> bytes:
    """Every hundredth message is bad, of one kind after another."""
    return BAD[number // 100 % len(BAD)] if number % 100 == 99 else payload(number)


def is_bad(number: int) -> bool:
    return number % 100 == 99


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_sink_down_broker_restarted_and_bad_data_lose_nothing_good(
    tmp_path: Path, seconds: int
) -> None:
    seconds = int(os.environ.get("BERRYGATE_OUTAGE", seconds))
    with mosquitto(tmp_path / "broker") as broker, influx_1(tmp_path / "influx") as influx:
        bridge = {
            "type": "influxdb", "name": "sink", "version": "1", "url": influx.url,
            "database": "test", "retry": {"max": "2s", "breaker": {"reset": "2s"}},
        }  # fmt: skip
        with gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[bridge],
        ) as house:
            publisher = Publisher(broker.port, DEVICES, mixed)
            count = 500 * (seconds + 6)
            thread = threading.Thread(target=publisher.run, args=(0, count, 500))
            thread.start()
            time.sleep(2)
            influx.stop()
            time.sleep(seconds / 2)
            broker.stop()
            time.sleep(0.5)
            broker.start()
            time.sleep(seconds / 2)
            during = house.api("status")["ledger"]["bridges"]["sink"]
            assert during["pending"] > 0
            influx.start()
            thread.join()
            publisher.close()
            good = {n for n in publisher.acknowledged if not is_bad(n)}
            bad = {n for n in publisher.acknowledged if is_bad(n)}
            check(house, len(good), len(bad), len(publisher.repeated))
            found = Counter(int(v) for d in range(DEVICES) for v in influx.values(f"d{d}", "seq"))
            assert good - set(found) == set()
            twice = {number for number, times in found.items() if times > 1}
            assert twice <= publisher.repeated


def check(house: Gateway, good: int, bad: int, repeated: int) -> None:
    """Everything is accounted for; what the publisher had to repeat may count twice."""

    def settled() -> bool:
        ledger = house.api("status")["ledger"]
        source, sink = ledger["sources"]["mqtt"], ledger["bridges"]["sink"]
        return (
            source["journalled"] >= good
            and source["dead_lettered"] >= bad
            and source["in_flight"] == 0
            and sink["pending"] == 0
        )

    house.wait(settled, 90)
    status = house.api("status")
    source, sink = status["ledger"]["sources"]["mqtt"], status["ledger"]["bridges"]["sink"]
    print(source, sink)
    assert good <= source["journalled"] <= good + repeated
    assert bad <= source["dead_lettered"] <= bad + repeated
    assert sink["matched"] == sink["delivered"] == source["journalled"]
    assert set(house.differences().values()) == {0}
    letters = sum(entry["count"] for entry in status["dead_letters"])
    assert letters == source["dead_lettered"]
