"""A gateway that is killed loses nothing that the broker had acknowledged, and repeats nothing.

BERRYGATE_SEED repeats a run; BERRYGATE_KILLS sets how many kills.
"""

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.influx import influx_1
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher

DEVICES = 10
RATE = 1_000


def kill_often(house: Gateway, kills: int, seed: int) -> None:
    """Kill and start again, at random moments after it was ready or while it starts."""
    chance = random.Random(seed)
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 1.6))
        house.kill()
        house.start(ready=chance.random() < 0.8)
    house.wait(lambda: house.get("/readyz").status_code == 200)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kills", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_kill_of_the_gateway_loses_and_repeats_nothing(tmp_path: Path, kills: int) -> None:
    kills = int(os.environ.get("BERRYGATE_KILLS", kills))
    seed = int(os.environ.get("BERRYGATE_SEED", random.randrange(10**6)))
    print(f"BERRYGATE_SEED={seed} BERRYGATE_KILLS={kills}")
    with mosquitto(tmp_path / "broker") as broker, influx_1(tmp_path / "influx") as influx:
        house = Gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt", "topics": ["devices/+/telemetry"]}],
            bridges=[{
                "type": "influxdb", "name": "sink", "version": "1", "url": influx.url,
                "database": "test", "batch": {"wait": "200ms"}, "retry": {"max": "1s"},
            }],
            journal={"gather": "200ms"},
        ).start()  # fmt: skip
        house.wait(lambda: house.api("status")["broker"]["connected"])
        publisher, stop = Publisher(broker.port, DEVICES), threading.Event()
        sent = [0]

        def publish() -> None:
            while not stop.is_set():
                sent[0] = publisher.run(sent[0], RATE // 10, RATE)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            kill_often(house, kills, seed)
        finally:
            stop.set()
            thread.join()
        publisher.close()
        wanted = publisher.acknowledged
        assert wanted == set(range(sent[0]))

        def arrived() -> bool:
            status = house.api("status")
            bridge = status["ledger"]["bridges"]["sink"]
            return bridge["pending"] == 0 and status["journal"]["next"] > len(wanted)

        house.wait(arrived)
        time.sleep(1.0)  # what came twice would come now
        stored = Counter(
            int(value) for d in range(DEVICES) for value in house.values(f"d{d}", "seq")
        )
        delivered = Counter(
            int(value) for d in range(DEVICES) for value in influx.values(f"d{d}", "seq")
        )
        print(f"{len(wanted)} published, history {stored.total()}, InfluxDB {delivered.total()}")
        for found, where in ((stored, "history"), (delivered, "InfluxDB")):
            assert wanted - set(found) == set(), f"{where} lost some"
            assert [n for n, count in found.items() if count > 1] == [], f"{where} has some twice"
            assert set(found) - wanted == set(), f"{where} has what nobody sent"
        assert set(house.differences().values()) == {0}
        house.stop()
