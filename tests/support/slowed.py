"""A gateway under load, and ways to make one of its stages the one that limits.

Each way is the real thing: a proxy that is slow, a server that asks for patience, system calls
that take long, processes that take the processor, and a stranger's driver that is badly written.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.hang import traced
from tests.support.http_peer import Asked, Said, http_peer
from tests.support.influx import influx_1
from tests.support.mosquitto import mosquitto
from tests.support.proxy import Proxy, proxy
from tests.support.publisher import Publisher

RATE = 600
DEVICES = 8
_LIMITS = re.compile(r'timestamp=(\S+) .*event="?(\S+) limits \((\w+)\): ([^"\n]*)')

_DRIVERS = '''
"""Drivers of somebody who has not read how they are written: they hold up the event loop."""

import asyncio
import time
from pathlib import Path
from typing import Literal

from gateway.codecs.json import JsonCodec
from gateway.core.settings import CodecSettings, DeviceSettings

ORDERS = Path(__file__).parent


def ordered(what):
    try:
        return float((ORDERS / what).read_text())
    except (OSError, ValueError):
        return 0.0


class SlowCodec(JsonCodec):
    looked, seconds = 0.0, 0.0

    def plain(self, payloads):
        if time.monotonic() - self.looked > 0.2:
            self.looked, self.seconds = time.monotonic(), ordered("codec")
        if self.seconds:
            end = time.thread_time() + self.seconds * len(payloads)
            while time.thread_time() < end:
                pass
        return super().plain(payloads)


class SlowCodecSettings(CodecSettings):
    """JSON, slowly."""

    type: Literal["slow"] = "slow"
    """Which codec."""

    def build(self):
        return SlowCodec()


class Blocking:
    def __init__(self, name):
        self.name = name

    async def listen(self):
        while True:
            ask_the_meter(ordered("device"))
            await asyncio.sleep(0.2)
            if not ORDERS.exists():
                yield


def ask_the_meter(seconds):
    time.sleep(seconds)


class BlockingSettings(DeviceSettings):
    """A meter that is asked in the event loop."""

    type: Literal["blocking"] = "blocking"
    """Which driver."""

    def build(self, name, context):
        return Blocking(name)
'''
_ENTRIES = """[berrygate.codecs]
slow = slow_drivers:SlowCodecSettings
[berrygate.devices]
blocking = slow_drivers:BlockingSettings
"""


def drivers(directory: Path) -> Path:
    """Those drivers, as pip leaves them."""
    info = directory / "slow_drivers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-drivers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_ENTRIES)
    (directory / "slow_drivers.py").write_text(_DRIVERS)
    return directory


class Load:
    """Publishes all the while, at an even rate; `devices` may be changed meanwhile."""

    def __init__(self, port: int, rate: int = RATE) -> None:
        self.devices = DEVICES
        self._rate = rate
        self._publisher = Publisher(port, topic=self._topic)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _topic(self, number: int) -> bytes:
        return b"devices/d%d/telemetry" % (number % self.devices)

    def _run(self) -> None:
        sent = 0
        while not self._stop.is_set():
            sent = self._publisher.run(sent, self._rate, self._rate, self._stop)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)  # what nobody acknowledges any more is not waited for


@dataclass
class Slowed:
    """See the module. held: parts of a request's body; who has one waits for its answer. patience:
    what the sink asks for with 429 (s), or 0.0."""

    house: Gateway
    proxy: Proxy
    load: Load
    orders: Path
    core: int
    held: bytes = b""
    patience: float = 0.0
    _cleanup: ExitStack = field(default_factory=ExitStack)

    def limits(self, since: float) -> list[tuple[float, str, str, str]]:
        """What the gateway said since then that limits: when (epoch s), stage, cause, text."""
        found = [
            (datetime.fromisoformat(when).timestamp(), stage, cause, text)
            for when, stage, cause, text in _LIMITS.findall(self.house.log.read_text())
        ]
        return [each for each in found if each[0] >= since]

    def order(self, what: str, seconds: float) -> None:
        """Have a driver take its time."""
        (self.orders / what).write_text(str(seconds))


@contextmanager
def slowed(
    directory: Path, core: int, rate: int = RATE, *, yields: bool = False, **config: Any
) -> Iterator[Slowed]:
    """A gateway on one core between a broker and InfluxDB. yields: it gives way to everybody."""
    local = threading.local()
    here: list[Slowed] = []

    def passing(asked: Asked) -> Said:
        if here and here[0].patience:
            return Said(429, b"too many", {"Retry-After": str(int(here[0].patience))})
        while here and here[0].held and here[0].held in asked.body:
            time.sleep(0.05)
        if not hasattr(local, "client"):
            local.client = httpx.Client(trust_env=False, timeout=30)
        answer = local.client.post(influx.url + asked.path, content=asked.body)
        return Said(answer.status_code, answer.content)

    with ExitStack() as stack:
        influx = stack.enter_context(influx_1(directory / "influx"))
        broker = stack.enter_context(mosquitto(directory / "broker"))
        peer = stack.enter_context(http_peer(passing))
        between = stack.enter_context(proxy(int(peer.url.rsplit(":", 1)[1])))
        bridge = {
            "type": "influxdb", "name": "sink", "version": "1", "database": "test",
            "url": f"http://127.0.0.1:{between.port}", "timeout": "30s", "pool": {"max": 4},
            "batch": {"size": 100, "wait": "200ms"}, "retry": {"max": "2s"},
        }  # fmt: skip
        house = Gateway(
            directory / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt", "codec": "slow"}, {"type": "blocking"}],
            bridges=[bridge],
            journal={"gather": "200ms"},
            **config,
        )
        house.prefix = ["taskset", "-c", str(core), *(["chrt", "-i", "0"] if yields else [])]
        orders = drivers(directory / "drivers")
        house.environment = {"PYTHONPATH": str(orders)}
        house.module = "tests.support.eager"  # else history would write once a minute
        house.start(ready=False)
        stack.callback(house.kill)
        house.wait(lambda: house.api("status")["broker"]["connected"])
        load = stack.enter_context(Load(broker.port, rate))
        here.append(Slowed(house, between, load, orders, core))
        house.wait(lambda: house.api("bridges")[0]["delivered"] > 0)
        yield here[0]


@contextmanager
def calls_take(pid: int, call: str, path: Path, seconds: float) -> Iterator[None]:
    """Each such call of files at `path` takes that long."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    process = subprocess.Popen(
        [strace, "-f", "-q", "-p", str(pid), "-o", "/dev/null", "-P", str(path), "-e",
         f"trace={call}", "-e", f"inject={call}:delay_enter={int(seconds * 1e6)}"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while not traced(pid):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.skip("cannot trace")
        time.sleep(0.02)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def hogs(core: int, count: int) -> Iterator[None]:
    """So many processes that take all of a core they are given; nicely, for others are there."""
    busy = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    command = ["taskset", "-c", str(core), "nice", "-n", "19", sys.executable, "-c", busy]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def a_core() -> int:
    """The last one this process may use."""
    return max(os.sched_getaffinity(0))
