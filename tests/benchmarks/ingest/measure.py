"""What a process spends per message while a publisher publishes through a real mosquitto."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.gateway import Gateway
from tests.support.mosquitto import mosquitto
from tests.support.ports import end, free_port, wait_for_port

HERE = Path(__file__).parent
_TICK = os.sysconf("SC_CLK_TCK")
DEVICES = 100


@dataclass(frozen=True)
class Result:
    """name: who. rate: messages a second offered, 0 for as fast as it goes. cpu: us a message, all
    threads, user and system. seconds: from the first message to the last one in the sink.
    lost: messages that never came."""

    name: str
    rate: int
    cpu: float
    seconds: float
    lost: int


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program of this folder."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        end(process)


@contextmanager
def sink() -> Iterator[str]:
    """A running sink; its URL."""
    port = free_port()
    with program(str(HERE / "sink.py"), str(port)) as process:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"


def publish(port: int, count: int, rate: int) -> None:
    """Publish in a process of its own."""
    subprocess.run(
        [
            sys.executable, "-m", "tests.support.publisher", "--port", str(port),
            "--count", str(count), "--rate", str(rate), "--devices", str(DEVICES),
        ],
        check=True, timeout=600,
    )  # fmt: skip


def drained(url: str, count: int, timeout: float = 60) -> int:
    """Wait until the sink has `count` lines, or no more come; how many it has."""
    deadline = time.monotonic() + timeout
    while (have := int(httpx.get(f"{url}/count").text)) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return have


def ingest(who: str, directory: Path, count: int, rate: int) -> Result:
    """Broker to InfluxDB write: `ours` or `usual`."""
    with mosquitto(directory / "broker") as broker, sink() as url:
        if who == "ours":
            bridge = {"type": "influxdb", "url": url, "token": "token", "bucket": "bucket"}
            house = Gateway(
                directory / "gateway",
                broker={"embedded": False, "port": broker.port},
                devices=[{"type": "mqtt"}],
                bridges=[bridge],
            ).start()
            assert house.process is not None
            try:
                return _measure(who, house.process.pid, broker.port, url, count, rate)
            finally:
                house.stop()
        script = str(HERE / "usual_script.py")
        with program(script, str(broker.port), url) as process:
            time.sleep(2.0)
            return _measure(who, process.pid, broker.port, url, count, rate)


def _measure(who: str, pid: int, port: int, url: str, count: int, rate: int) -> Result:
    time.sleep(1.0)
    before, began = cpu_seconds(pid), time.monotonic()
    publish(port, count, rate)
    have = drained(url, count)
    seconds, spent = time.monotonic() - began, cpu_seconds(pid) - before
    return Result(who, rate, spent / count * 1e6, seconds, count - have)


def receive(who: str, directory: Path, count: int, rate: int) -> Result:
    """Receive and acknowledge alone: `ours` or `paho`."""
    script = "our_receiver.py" if who == "ours" else "plain_paho.py"
    with (
        mosquitto(directory / "broker", "sys_interval 1") as broker,
        program(str(HERE / script), str(broker.port)) as process,
    ):
        time.sleep(2.0)
        before, began = cpu_seconds(process.pid), time.monotonic()
        publish(broker.port, count, rate)
        seconds = time.monotonic() - began
        time.sleep(0.5)
        return Result(who, rate, (cpu_seconds(process.pid) - before) / count * 1e6, seconds, 0)
