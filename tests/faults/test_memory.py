"""Memory that runs out."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.faults import outcome
from tests.support.gateway import Gateway
from tests.support.memory import memory_limit
from tests.support.ports import free_port
from tests.support.publisher import Publisher

LIMIT = 330_000_000
"""What MemoryMax=80% gives a Zero 2 W with 512 MB."""


@pytest.mark.timeout(180)
def test_a_broker_that_takes_all_memory_ends_alone(tmp_path: Path) -> None:
    """A client that is away for weeks makes the broker grow. The gateway has to go on, and a new
    broker to start; the limit is for both."""
    broker = {"port": free_port(), "queue_size": "4GB"}
    with memory_limit(LIMIT) as group:
        house = Gateway(tmp_path, broker=broker, devices=[{"type": "mqtt"}])
        house.start()
        (group / "cgroup.procs").write_text(str(house.pid))
        first = house.api("status")["broker"]["pid"]
        (group / "cgroup.procs").write_text(str(first))
        try:
            away(house.broker_port)
            flood(house)
            status = house.api("status")["broker"]
            assert status["pid"] != first
            assert str(status["pid"]) in (group / "cgroup.procs").read_text().split()
            # Killed, it has forgotten who is subscribed.
            house.wait(lambda: house.api("status")["sources"][0]["state"] == "running")
            publisher = Publisher(house.broker_port, client_id="after")
            publisher.run(0, 20)
            publisher.close()
            house.wait(lambda: 19.0 in [v for d in range(10) for v in house.values(f"d{d}", "seq")])
            outcome("memory-broker-killed", limit=LIMIT, restarts=status["restarts"])
        finally:
            house.stop()


def away(port: int) -> None:
    """Have the broker keep everything for a client that then goes."""
    subprocess.run(
        ["mosquitto_sub", "-p", str(port), "-c", "-i", "away", "-q", "1", "-t", "big/#", "-E"],
        check=True, timeout=20,
    )  # fmt: skip


def flood(house: Gateway) -> None:
    """Publish until the broker is started again."""
    payload = json.dumps({"x": "y" * 200_000}).encode()
    publisher = Publisher(
        house.broker_port, make=lambda _: payload, topic=lambda number: b"big/%d" % (number % 10)
    )
    enough = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(0, 10**6, 400, enough))
    thread.start()
    try:
        house.wait(lambda: bool(house.api("status")["broker"]["restarts"]), 90)
        house.wait(lambda: bool(house.api("status")["broker"]["pid"]), 30)
    finally:
        enough.set()
        thread.join()
        publisher.close()
