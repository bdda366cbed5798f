"""The run: a gateway of its own, and the devices, until somebody has seen enough."""

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.bench.processes import environment, program
from gateway.core.errors import BerrygateError, ConfigError
from gateway.demo.parts import Part, parts
from gateway.demo.site import Place

_START = 60.0  # a first start on a slow card (s)
_LOOK = 0.05
_MOCK = {"GPIOZERO_PIN_FACTORY": "mock", "GPIOZERO_MOCK_PIN_CLASS": "mockpwmpin"}
_BROKER, _HTTP, _COAP, _MODBUS = 1883, 8080, 5683, 5020


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to look at. broker, http: ports; devices: ids; hints: what is special about
    some; missing: modules without which some devices are left out."""

    config: Path
    broker: int
    http: int
    devices: list[str]
    hints: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    first: float = 0.0  # after how long the first message was stored (s)


def run(directory: Path | None, show: Callable[[Scene], None]) -> None:
    """Run until SIGINT or SIGTERM. directory: where the gateway's data is to stay; None for one
    that is gone afterwards. show: called once there is something to look at. Raises
    BerrygateError."""
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        raise ConfigError("mosquitto is not installed", fix="apt-get install mosquitto")
    with _kept(directory) as where:
        asyncio.run(_run(where, show))


async def _run(directory: Path, show: Callable[[Scene], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    coap = _free(_COAP, socket.SOCK_DGRAM)
    place = Place(directory, _free(_BROKER), coap, _free(_MODBUS))
    there = [part for part in parts(place) if find_spec(part.needs) is not None]
    missing = [part.needs for part in parts(place) if find_spec(part.needs) is None]
    port = _free(_HTTP)
    file = _configured(place, port, there)
    began = time.monotonic()
    with _gateway(file) as process:
        work = [asyncio.create_task(_all(there)), asyncio.create_task(stop.wait())]
        try:
            first = await _answered(process, port, work, began)
            if first is not None:
                devices = [name for part in there for name in part.devices]
                hints = {name: hint for part in there for name, hint in part.hints.items()}
                show(Scene(file, place.broker, port, devices, hints, missing, first))
                await _ended(process, file, work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def _all(there: list[Part]) -> None:
    async with asyncio.TaskGroup() as group:
        for part in there:
            group.create_task(part.run())


async def _answered(
    process: "subprocess.Popen[bytes]", port: int, work: "list[asyncio.Task[Any]]", began: float
) -> float | None:
    """After how long the first reading of a device was stored (s); None where it is to stop before.
    Raises BerrygateError."""
    while not await asyncio.to_thread(_has_stored, port):
        if work[1].done():
            return None
        if work[0].done():
            work[0].result()
        if process.poll() is not None:
            raise BerrygateError("the gateway ended at its start", fix="berrygate doctor")
        if time.monotonic() - began > _START:
            raise BerrygateError(f"the gateway was not ready within {_START:g} s")
        await asyncio.sleep(_LOOK)
    return time.monotonic() - began


async def _ended(
    process: "subprocess.Popen[bytes]", file: Path, work: "list[asyncio.Task[Any]]"
) -> None:
    """Return when it is to stop. Raises BerrygateError, or what a device raised."""
    while not work[1].done():
        if process.poll() is not None:
            log = file.with_name("gateway.log")
            lines = (await asyncio.to_thread(log.read_text, errors="replace")).splitlines()
            raise BerrygateError("\n".join(["the gateway ended", *lines[-10:]]))
        await asyncio.wait(work, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        if work[0].done():
            work[0].result()


@contextmanager
def _gateway(file: Path) -> "Iterator[subprocess.Popen[bytes]]":
    log = file.with_name("gateway.log")
    with (
        log.open("wb") as output,
        program(
            "gateway",
            "run",
            "-c",
            str(file),
            stdout=output,
            stderr=output,
            env=environment() | _MOCK,
        ) as process,
    ):
        yield process


def _configured(place: Place, port: int, there: list[Part]) -> Path:
    """The gateway's configuration, written; JSON is YAML, too."""
    sources = [source for part in there for source in part.sources()]
    config = {
        "gateway": {"id": "nursery", "data_dir": str(place.directory / "data")},
        "broker": {"port": place.broker},
        "api": {"port": port},
        "journal": {"gather": "500ms"},
        "devices": [{"type": "system", "id": "pi", "interval": "2s"}, *sources],
    }
    file = place.directory / "berrygate.yaml"
    file.write_text(json.dumps(config, indent=2))
    return file


@contextmanager
def _kept(directory: Path | None) -> Iterator[Path]:
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="berrygate-demo-") as made:
            yield Path(made)
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "give a directory that can be written"
        raise ConfigError(f"{directory}: {error.strerror or error}", fix=fix) from error
    yield directory.absolute()


def _free(wanted: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """That port of this machine where it is free, else one that is."""
    for port in (wanted, 0):
        with suppress(OSError), socket.socket(socket.AF_INET, kind) as tried:
            if kind == socket.SOCK_STREAM:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            return int(tried.getsockname()[1])
    raise BerrygateError("this machine has no free port")


def _has_stored(port: int) -> bool:
    """Whether the gateway has stored something that came from a simulated device."""
    with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/api/v1/status")
            sources = json.loads(connection.getresponse().read())["ledger"]["sources"]
            return any(found["journalled"] for name, found in sources.items() if name != "pi")
        finally:
            connection.close()
    return False
