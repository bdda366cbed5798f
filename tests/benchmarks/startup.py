"""How long a user waits: from the start to /readyz, to this machine's own data, to a published
message in history, and from publishing it to InfluxDB; and the memory that the start takes.

python -m tests.benchmarks.startup [--rounds 5]
"""

import argparse
import compileall
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.benchmarks.ingest.measure import cpu_seconds
from tests.support.gateway import Gateway
from tests.support.influx import influx_1
from tests.support.ports import free_port


def installed(house: Gateway) -> Gateway:
    """`house`, to be started as an installation is, with its modules compiled beforehand; whoever
    develops may have Python told otherwise."""
    for name in ("gateway", "devices", "bridges"):
        compileall.compile_dir(name, quiet=1)
    house.environment["PYTHONDONTWRITEBYTECODE"] = ""
    return house


def since(began: float, house: Gateway, condition: Callable[[], bool]) -> float:
    """Seconds from `began` until `condition` holds."""
    house.wait(condition)
    return time.monotonic() - began


def once(directory: Path) -> dict[str, float]:
    """One start with an empty data directory, on the embedded defaults and an InfluxDB."""
    port = free_port()
    with influx_1(directory / "influx") as influx:
        bridge = {"type": "influxdb", "version": "1", "url": influx.url, "database": "test"}
        house = Gateway(directory / "gateway", broker={"port": port}, bridges=[bridge])
        installed(house)
        found = {}
        began = time.monotonic()
        house.start(ready=False)
        try:
            ready = lambda: house.get("/readyz").status_code == 200  # noqa: E731
            found["start to /readyz"] = since(began, house, ready)
            found["processor time then"] = cpu_seconds(house.pid)
            found["memory then, MB"] = psutil.Process(house.pid).memory_info().rss / 1e6
            own = lambda: bool(house.values("pi", "memory.percent"))  # noqa: E731
            found["start to own data"] = since(began, house, own)
            began = time.monotonic()
            subprocess.run(
                [
                    "mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1",
                    "-t", "devices/a/telemetry", "-m", '{"x": 1}',
                ],
                check=True,
            )  # fmt: skip
            stored = lambda: house.values("a", "x") == [1.0]  # noqa: E731
            found["publish to history"] = since(began, house, stored)
            arrived = lambda: influx.values("a", "x") == [1]  # noqa: E731
            found["publish to InfluxDB"] = since(began, house, arrived)
        finally:
            began = time.monotonic()
            house.stop()
            found["stop"] = time.monotonic() - began
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = []
    for _ in range(parser.parse_args().rounds):
        with tempfile.TemporaryDirectory() as directory:
            rounds.append(once(Path(directory)))
    print(f"{'seconds':24} {'median':>7} {'worst':>7}")
    for name in rounds[0]:
        values = [found[name] for found in rounds]
        print(f"{name:24} {statistics.median(values):7.2f} {max(values):7.2f}")


if __name__ == "__main__":
    main()
