"""What a gateway does under load: each case is one gateway, broker, publisher and sink."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from gateway.core.settings import parse_duration
from gateway.store.batching import LONGEST
from gateway.store.buffers import ROWS
from tests.benchmarks.ingest.measure import cpu_seconds, program
from tests.support.disks import Card
from tests.support.gateway import Gateway
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port, wait_for_port

HERE = Path(__file__).parent
_DRAIN = 60.0  # how long what was published may take to arrive before it counts as lost (s)
_SECTOR = 512
_DEVICES = 100


@dataclass
class Bench:
    """A gateway at work, and what is around it."""

    house: Gateway
    broker_port: int
    sink: str

    def publish(self, count: int, rate: int, devices: int) -> None:
        """Publish in a process of its own."""
        command = [sys.executable, str(HERE / "publish.py"), str(self.broker_port)]
        options = ["--count", str(count), "--rate", str(rate), "--devices", str(devices)]
        subprocess.run([*command, *options], check=True, timeout=count / (rate or 1_000) + 120)

    def stored(self) -> int:
        """Messages that history has."""
        return sum(s["count"] for s in self.house.api("series") if s["metric"] == "seq")

    def delivered(self) -> dict[str, Any]:
        """What the sink has seen: lines, and how late they were."""
        found: dict[str, Any] = httpx.get(f"{self.sink}/seen", timeout=30).json()
        return found

    def drain(self, count: int, of: str = "lines") -> float:
        """Seconds until the sink has `count` messages; at most _DRAIN."""
        return _until(lambda: self.delivered()[of] >= count)

    def settle(self) -> None:
        """Wait until history has taken what is committed: it gathers for up to a second."""
        _until(lambda: not self.behind())

    def behind(self) -> int:
        """Messages that history has not taken yet."""
        return int(self.house.api("status")["journal"]["history_behind"])

    def resident(self) -> float:
        """Memory of the gateway's process (MB)."""
        return float(psutil.Process(self.house.pid).memory_info().rss) / 1e6


def _until(done: Callable[[], bool]) -> float:
    """Seconds until it is done; at most _DRAIN."""
    began = time.monotonic()
    while not done() and time.monotonic() - began < _DRAIN:
        time.sleep(0.05)
    return time.monotonic() - began


def connected(house: Gateway) -> bool:
    """Whether it speaks to its broker; asked so that the API is not loaded for it."""
    status: dict[str, Any] = json.loads(house.command("status", "--json").stdout)
    return bool(status["broker"]["connected"])


@contextmanager
def bench(directory: Path, data: Path | None = None, **config: Any) -> Iterator[Bench]:
    """A gateway between a broker and a sink. data: where its data lies, if not beside the rest."""
    port = free_port()
    bridge = {"type": "influxdb", "url": f"http://127.0.0.1:{port}", "token": "t", "bucket": "b"}
    bridge |= config.pop("bridge", {})
    with (
        mosquitto(directory / "broker") as broker,
        program(str(HERE / "sink.py"), str(port)) as sink,
    ):
        wait_for_port(port, sink)
        house = Gateway(
            directory / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[bridge],
            gateway={"id": "test", "data_dir": str(data or directory / "data")},
            **config,
        ).start()
        try:
            house.wait(lambda: connected(house))
            time.sleep(1.0)
            yield Bench(house, broker.port, bridge["url"])
        finally:
            house.stop()


def sustained(directory: Path, rate: int, seconds: float, devices: int) -> dict[str, float]:
    """`rate` messages a second: what is lost, how far sink and history are behind at the end."""
    count = int(rate * seconds)
    with bench(directory) as here:
        before, began = cpu_seconds(here.house.pid), time.monotonic()
        here.publish(count, rate, devices)
        offered = count / (time.monotonic() - began)
        behind = here.behind()
        sink = here.drain(count)
        cpu = cpu_seconds(here.house.pid) - before
        seen = here.delivered()
        here.settle()
        return {
            "messages": count,
            "devices": devices,
            "offered /s": round(offered),
            "lost at the sink": count - seen["lines"],
            "lost in history": count - here.stored(),
            "sink behind s": round(sink, 2),
            "history behind s": round(behind / rate, 2),
            "CPU us/message": round(cpu / count * 1e6, 2),
            "CPU of a core %": round(cpu / (time.monotonic() - began) * 100, 1),
            "memory MB": round(here.resident(), 1),
            "difference": sum(map(abs, here.house.differences().values())),
        }


def latency(directory: Path, rate: int, seconds: float, *, least: bool) -> dict[str, float]:
    """From publishing to the sink. least: with gathering and batches at their minimum."""
    extra: dict[str, Any] = {}
    if least:
        extra = {"journal": {"gather": "1ms"}, "bridge": {"batch": {"wait": "0ms"}}}
    count = int(rate * seconds)
    with bench(directory, **extra) as here:
        here.publish(int(rate), rate, _DEVICES)
        here.drain(int(rate))
        httpx.get(f"{here.sink}/forget", timeout=30)
        here.publish(count, rate, _DEVICES)
        here.drain(count)
        seen = here.delivered()
        return {
            "messages": count,
            "lost": count - seen["lines"],
            **{f"{name} ms": round(seen[name] * 1000, 1) for name in ("p50", "p95", "p99")},
        }


def wear(
    directory: Path, rate: int, seconds: float, gather: str, *, full: bool = False
) -> dict[str, float]:
    """Bytes written to the device that the data lies on, by its own counter (needs root); what
    history has full by the end, and what is in write-ahead logs, is written before it is read.
    full: with a journal that keeps no more, as any is in the long run."""
    count = int(rate * seconds)
    directory.mkdir(parents=True, exist_ok=True)
    journal = {"gather": gather} | ({"max_size": "8MB"} if full else {})
    with (
        Card(directory, 2_000) as card,
        bench(directory, card.directory / "data", journal=journal) as here,
    ):
        stat = Path("/sys/block") / Path(card.device).name / "stat"
        while full and not list((card.directory / "data/journal").glob("*.spare")):
            here.publish(50_000, 10_000, _DEVICES)
        # What a start writes, and each device once, is over.
        here.publish(_DEVICES, 0, _DEVICES)
        time.sleep(5.0 + parse_duration(gather))
        written_down(card.directory)
        before, began = int(stat.read_text().split()[6]), time.monotonic()
        own = here.house.api("status")["journal"]["written"]
        here.publish(count, rate, _DEVICES)
        time.sleep(max(seconds - (time.monotonic() - began), 0.0))
        took = time.monotonic() - began
        time.sleep(LONGEST + 5.0 if count >= ROWS * _DEVICES else 0.0)
        written_down(card.directory)
        written = (int(stat.read_text().split()[6]) - before) * _SECTOR
        own = here.house.api("status")["journal"]["written"] - own
        return {
            "messages": count,
            "bytes/message": round(written / count, 1),
            "journal bytes/message": round(own / count, 1),
            "MB/day": round(written / took * 86_400 / 1e6, 1),
        }


def written_down(card: Path) -> None:
    """Have all that is in write-ahead logs and in memory on the card."""
    for name in ("history.db", "state.db"):
        with closing(sqlite3.connect(card / "data" / name)) as database:
            database.execute("PRAGMA wal_checkpoint").fetchall()
    subprocess.run(["sync", "-f", str(card)], check=True)


def memory(directory: Path, seconds: float, devices: int) -> dict[str, float]:
    """A message of 3 metrics a second from each device: memory over time, CPU when nothing comes.
    growth: of the last two thirds. With the API: once somebody has asked it something."""
    with bench(directory) as here:
        time.sleep(5)
        before, began = cpu_seconds(here.house.pid), time.monotonic()
        time.sleep(min(20.0, seconds))
        idle = (cpu_seconds(here.house.pid) - before) / (time.monotonic() - began)
        third = max(int(seconds / 3), 1)
        marks = []
        for _ in range(3):
            here.publish(third * devices, devices, devices)
            marks.append(here.resident())
        here.behind()
        return {
            "minutes": round(3 * third / 60, 1),
            "devices": devices,
            "memory MB": round(marks[-1], 1),
            "with the API MB": round(here.resident(), 1),
            "growth MB": round(marks[-1] - marks[0], 1),
            "idle CPU of a core %": round(idle * 100, 2),
        }


def printed(name: str, found: dict[str, float]) -> str:
    """One line of JSON for a case."""
    return json.dumps({"case": name, **found})
