"""What a start loads, and what only comes when somebody asks for it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.ports import free_port

LATE = {
    "fastapi": "the API",
    "starlette.applications": "the API",
    "gateway.web.application": "the API",
    "gateway.web.params": "the API, or the command line",
    "gateway.web.dialogue": "the command line",
    "gateway.web.metrics": "Prometheus",
    "influxdb_client": "InfluxDB 2",
    "apprise": "channels of alerts",
    "gateway.doctor": "doctor",
    "gateway.bench": "bench",
}
"""What is big, or makes others so, and what it is for."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    port = free_port()
    away = {"type": "influxdb", "version": "1", "url": "http://127.0.0.1:1", "database": "d"}
    house = Gateway(tmp_path, broker={"port": port}, bridges=[away])
    # Python says of each module when it is loaded, and so at any time what was until then.
    house.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    house.start()
    yield house
    house.stop()


def loaded(house: Gateway) -> set[str]:
    lines = house.log.read_text(errors="replace").splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_a_start_loads_nothing_that_nobody_has_asked_for(gateway: Gateway) -> None:
    found = loaded(gateway)
    assert {"gateway.app", "gateway.web.server", "numpy", "paho.mqtt.client"} <= found
    assert not found & LATE.keys()

    assert "berrygate_journal_bytes" in gateway.get("/metrics").text
    found = loaded(gateway)
    assert "gateway.web.metrics" in found
    assert "fastapi" not in found

    assert gateway.command("version").returncode == 0
    assert "gateway.web.dialogue" not in loaded(gateway)
    assert gateway.command("status").returncode in (0, 1)
    found = loaded(gateway)
    assert "gateway.web.dialogue" in found
    assert "fastapi" not in found

    assert gateway.api("status")["ready"]
    assert "fastapi" in loaded(gateway)


def test_the_collector_looks_at_what_comes_later_only() -> None:
    code = (
        "import gc\n"
        "from gateway.core.collector import keep, rest\n"
        "rest()\n"
        "assert not gc.isenabled()\n"
        "keep()\n"
        "assert gc.isenabled()\n"
        "assert gc.get_freeze_count() > 1_000\n"
        "assert len(gc.get_objects()) < 100\n"
        "class Knot: pass\n"
        "knot = Knot()\n"
        "knot.own = knot\n"
        "del knot\n"
        "assert gc.collect() > 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_gateway_that_waits_for_something_collects_all_the_same(tmp_path: Path) -> None:
    code = (
        "import gc, sys\n"
        "from gateway.app import pumps\n"
        "from gateway.cli import main\n"
        "async def never(house):\n"
        "    import asyncio, os, signal\n"
        "    await asyncio.sleep(0.2)\n"
        "    print('collects', gc.isenabled())\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "pumps.ready = never\n"
        "sys.exit(main(['run', '-c', sys.argv[1]]))\n"
    )
    house = Gateway(tmp_path, broker={"port": free_port()})
    command = [sys.executable, "-c", code, str(house.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "collects True" in done.stdout, done.stderr
