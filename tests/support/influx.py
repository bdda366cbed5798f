"""Real sinks: Debian's influxd (InfluxDB 1) and victoria-metrics (takes v2 writes)."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ports import end, free_port, wait_for_port


def binary(name: str) -> str:
    """The program, or a skip that says why: some Debian releases do not have it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not to be had in this Debian release")
    return found


class Influx1:
    """influxd that can be stopped and started again with its data."""

    def __init__(self, directory: Path) -> None:
        self.port, self._rpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._binary = binary("influxd")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Influx1":
        """Start, wait until it answers, make the database `test`."""
        environment = os.environ | {
            "INFLUXDB_META_DIR": str(self._directory / "meta"),
            "INFLUXDB_DATA_DIR": str(self._directory / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(self._directory / "wal"),
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{self._rpc}",
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_HTTP_LOG_ENABLED": "false",
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
        }
        self.process = subprocess.Popen(
            [self._binary, "-config", "/dev/null"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(self.port, self.process)
        httpx.post(f"{self.url}/query", params={"q": "CREATE DATABASE test"}).raise_for_status()
        return self

    def stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def query(self, text: str) -> list[dict[str, Any]]:
        """The series an InfluxQL query answers with."""
        answer = httpx.get(
            f"{self.url}/query", params={"db": "test", "q": text, "epoch": "ns"}, timeout=30
        )
        series: list[dict[str, Any]] = answer.json()["results"][0].get("series", [])
        return series

    def values(self, measurement: str, field: str) -> list[Any]:
        """Every value of a field, by time."""
        found = self.query(f'SELECT "{field}" FROM "{measurement}"')
        return [row[1] for series in found for row in series["values"]]


@contextmanager
def influx_1(directory: Path) -> Iterator[Influx1]:
    """A running InfluxDB 1."""
    server = Influx1(directory).start()
    try:
        yield server
    finally:
        server.stop()


class Victoria:
    """victoria-metrics."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            binary("victoria-metrics"),
            f"-storageDataPath={directory}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-loggerLevel=ERROR",
            "-memory.allowedBytes=256MB",
        ]

    def start(self) -> "Victoria":
        """Start and wait until it answers."""
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self.process)
        return self

    def stop(self) -> None:
        """SIGTERM."""
        end(self.process)

    def values(self, measurement: str, field: str) -> list[float]:
        """Every value of a field, by time."""
        httpx.get(f"{self.url}/internal/force_flush", timeout=30)
        answer = httpx.get(
            f"{self.url}/api/v1/export",
            params={"match[]": f'{{__name__="{measurement}_{field}"}}'},
            timeout=60,
        )
        rows = [json.loads(line) for line in answer.text.splitlines()]
        pairs = [p for row in rows for p in zip(row["timestamps"], row["values"], strict=True)]
        return [value for _, value in sorted(pairs)]


@contextmanager
def victoria(directory: Path) -> Iterator[Victoria]:
    """A running victoria-metrics."""
    server = Victoria(directory).start()
    try:
        yield server
    finally:
        server.stop()
