"""The gateway that is measured: as it is installed, with a directory and ports of its own."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.bench.processes import environment, free_port, program
from gateway.core.errors import BerrygateError
from gateway.web.sockets import SOCKET_NAME, connect

_START = 60.0  # a first start on a slow card (s)
_LOOK = 0.02
_SELDOM = 0.2  # asking costs the gateway, which is being measured (s)
_ANSWER = 30.0


class Subject:
    """A running gateway. pid: its process; broker: the port of its broker; ready_after: how long
    its start took (s)."""

    def __init__(self, directory: Path, pid: int, broker: int, ready_after: float) -> None:
        self.pid = pid
        self.broker = broker
        self.ready_after = ready_after
        self._socket = directory / "data" / SOCKET_NAME

    def ask(self, call: str, **args: Any) -> Any:
        """What its control socket answers. Raises BerrygateError."""
        try:
            with connect(self._socket, _ANSWER) as connection, connection.makefile("rb") as lines:
                connection.sendall(json.dumps({"call": call, "args": args}).encode() + b"\n")
                answer = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise BerrygateError(
                f"the gateway that is measured does not answer: {error}"
            ) from error
        if "ok" not in answer:
            raise BerrygateError(f"the gateway that is measured: {answer['error']['message']}")
        return answer["ok"]

    @property
    def broker_pid(self) -> int:
        """Its broker's process; 0 where it is not known."""
        return int(self.ask("status")["broker"]["pid"] or 0)

    def through(self, count: int, within: float) -> bool:
        """Wait until `count` messages were journalled and all is delivered and in history; False
        if that takes longer than `within` (s)."""

        def done() -> bool:
            status = self.ask("status")
            source = status["ledger"]["sources"]["mqtt"]
            bridges = status["ledger"]["bridges"].values()
            journalled = source["received"] >= count and source["in_flight"] == 0
            delivered = all(bridge["pending"] == 0 for bridge in bridges)
            return journalled and delivered and status["journal"]["history_behind"] == 0

        return wait(done, within, _SELDOM)


def wait(done: Callable[[], bool], within: float, look: float = _LOOK) -> bool:
    """Whether `done` came to be in that time; looks every `look` (s)."""
    deadline = time.monotonic() + within
    while not (found := done()) and time.monotonic() < deadline:
        time.sleep(look)
    return found


def configuration(directory: Path, broker: int, api: int, sink: str | None) -> dict[str, Any]:
    """Of the gateway that is measured: the defaults, but for places and ports."""
    bridge = {"name": "sink", "type": "influxdb", "url": sink, "token": "none"}
    return {
        "gateway": {"id": "bench", "data_dir": str(directory / "data")},
        "broker": {"port": broker},
        "api": {"port": api},
        "bridges": [{**bridge, "org": "bench", "bucket": "bench"}] if sink is not None else [],
    }


@contextmanager
def subject(directory: Path, sink: str | None) -> Iterator[Subject]:
    """A gateway, ready, in `directory`. sink: where its bridge writes to; None for no bridge.
    Raises BerrygateError where it does not start."""
    broker, api = free_port(), free_port()
    config = configuration(directory, broker, api, sink)
    file, log = directory / "berrygate.yaml", directory / "gateway.log"
    file.write_text(json.dumps(config))
    began = time.monotonic()
    with (
        log.open("wb") as output,
        program(
            "gateway", "run", "-c", str(file), stdout=output, stderr=output,
            env=environment(BERRYGATE_LOG="warning"),
        ) as process,
    ):  # fmt: skip
        if not wait(lambda: process.poll() is not None or _is_ready(api), _START):
            raise BerrygateError(f"the gateway was not ready within {_START:g} s\n{_end(log)}")
        if process.poll() is not None:
            raise BerrygateError(
                f"the gateway ended at its start\n{_end(log)}", fix="berrygate doctor"
            )
        yield Subject(directory, process.pid, broker, time.monotonic() - began)


def _is_ready(port: int) -> bool:
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
