"""A gateway as its users have it: a process with a configuration file and a data directory."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.ports import end, free_port

# Made once: each takes 20 ms of a core, which the load and the sinks of the same process need.
_CONTEXT = ssl.create_default_context()


class Gateway:
    """`berrygate run`, which can be killed and started again."""

    def __init__(self, directory: Path, **config: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        self.config = directory / "berrygate.yaml"
        whole = {
            "gateway": {"id": "test", "data_dir": str(directory / "data")},
            "api": {"port": self.port},
            **config,
        }
        self.broker_port: int = whole.get("broker", {}).get("port", 1883)
        self.config.write_text(yaml.safe_dump(whole))
        self.log = directory / "gateway.log"
        self.prefix: list[str] = []  # of the command, for a gateway in a namespace
        self.environment: dict[str, str] = {}
        self.module = "gateway"  # or one of ours that runs it
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> "Gateway":
        """Start; with `ready`, wait until it accepts data."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", self.module, "run", "-c", str(self.config)],
                stdout=log, stderr=log,
                env=os.environ | {"INFLUX_TOKEN": "secret-token"} | self.environment,
            )  # fmt: skip
        if ready:
            self.wait(lambda: self.get("/readyz").status_code == 200)
        return self

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        end(self.process, 15)
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wait(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Return once `condition` holds. Raises AssertionError with the log."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout:g} s\n{self.log.read_text()[-5000:]}")

    def get(self, path: str, **params: Any) -> httpx.Response:
        """An HTTP request."""
        return httpx.get(self.url + path, params=params, timeout=30, verify=_CONTEXT)

    def api(self, path: str, **params: Any) -> Any:
        """What the API answers."""
        answer = self.get(f"/api/v1/{path}", **params)
        answer.raise_for_status()
        return answer.json()

    def values(self, device: str, metric: str, **params: Any) -> list[Any]:
        """Every value that history has of a series."""
        answer = self.get("/api/v1/query", device=device, metric=metric, start="-24h", **params)
        return [value for _, value in answer.json()["points"]] if answer.is_success else []

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line."""
        command = [sys.executable, "-m", "gateway", *args, "-c", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def differences(self) -> dict[str, int]:
        """What the ledger cannot explain, by source and bridge; should be all 0."""
        ledger = self.api("status")["ledger"]
        both = {**ledger["sources"], **ledger["bridges"]}
        return {name: entry["difference"] for name, entry in both.items()}


@contextmanager
def gateway(directory: Path, **config: Any) -> Iterator[Gateway]:
    """A running gateway; `config`: top-level keys."""
    house = Gateway(directory, **config).start()
    try:
        yield house
    finally:
        if house.process is not None and house.process.poll() is None:
            house.stop()
