"""Brokers that were not set up for a gateway."""

import time
from pathlib import Path

import pytest

from tests.support.gateway import gateway
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_broker_that_allows_few_in_flight_is_not_slow(tmp_path: Path, protocol: str) -> None:
    """With mosquitto's own default of 20 and a commit a second it would be 20 messages a second."""
    with (
        mosquitto(tmp_path / "broker", "max_inflight_messages 20") as broker,
        gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port, "protocol": protocol},
            devices=[{"type": "mqtt"}],
            journal={"gather": "5s"},
        ) as house,
    ):
        publisher = Publisher(broker.port, 1)
        publisher.run(0, 2_000)
        began = time.monotonic()
        house.wait(lambda: len(house.values("d0", "seq")) == 2_000, 60)
        print(f"{time.monotonic() - began:.1f} s")
        assert house.values("d0", "seq") == [float(n) for n in range(2_000)]
