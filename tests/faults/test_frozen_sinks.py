"""A sink that is there and does not answer holds up nobody: not its neighbour, not our end."""

import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import pytest

from tests.support.faults import FULL, outcome, runs, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.http_peer import Asked, Said, http_peer
from tests.support.influx import Influx1, influx_1
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher, payload

RATE = 500
DEVICES = 20
MIB = 1024 * 1024


def freeze(server: Influx1) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)


def thaw(server: Influx1) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGCONT)


class Live:
    """Publishes all the time. Each number's delay (s) from publish to the healthy sink's request
    is kept with the time when it was sent."""

    def __init__(self, port: int) -> None:
        self.delays: deque[tuple[float, float]] = deque()
        self._sent: dict[int, float] = {}
        self._stop = threading.Event()
        self._publisher = Publisher(port, DEVICES, self._make)
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def _make(self, number: int) -> bytes:
        self._sent.setdefault(number, time.monotonic())
        return payload(number)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.count = self._publisher.run(self.count, RATE, RATE)
        self._publisher.close()

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def took(self, body: bytes) -> None:
        """The healthy sink has these lines."""
        now = time.monotonic()
        for line in body.split(b"\n"):
            at = line.find(b"seq=") + 4
            sent = self._sent.pop(int(float(line[at:].split(b",")[0].split(b" ")[0])), None)
            if sent is not None:
                self.delays.append((sent, now - sent))

    def p99(self, since: float, until: float) -> float:
        """Of what was sent between two times (monotonic s)."""
        found = sorted(delay for sent, delay in list(self.delays) if since <= sent < until)
        assert len(found) > 100, "too few to say anything"
        return found[int(len(found) * 0.99)]

    def p99s(self, since: float, until: float) -> list[float]:
        """The same of every 5 s between two times."""
        starts = [since + 5 * n for n in range(int((until - since) / 5))]
        return [self.p99(start, start + 5) for start in starts]


def bridge(name: str, url: str) -> dict[str, Any]:
    return {
        "type": "influxdb", "name": name, "version": "1", "url": url, "database": "test",
        "batch": {"wait": "200ms"}, "retry": {"max": "10s", "breaker": {"reset": "5s"}},
    }  # fmt: skip


@contextmanager
def two_sinks(directory: Path) -> Iterator[tuple[Gateway, Live, Influx1, Influx1]]:
    """A gateway under load with a sink that will freeze and one that will not."""
    local = threading.local()
    live: list[Live] = []

    def passing(asked: Asked) -> Said:
        if not hasattr(local, "client"):
            local.client = httpx.Client(trust_env=False, timeout=30)
        answer = local.client.post(healthy.url + asked.path, content=asked.body)
        live[0].took(asked.body)
        return Said(answer.status_code, answer.content)

    with (
        influx_1(directory / "frozen") as frozen,
        influx_1(directory / "healthy") as healthy,
        mosquitto(directory / "broker") as broker,
        http_peer(passing) as peer,
        gateway(
            directory / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[bridge("frozen", frozen.url), bridge("healthy", peer.url)],
            journal={"gather": "200ms"},
        ) as house,
    ):
        house.wait(lambda: house.api("status")["broker"]["connected"])
        live.append(Live(broker.port))
        try:
            with live[0]:
                yield house, live[0], frozen, healthy
        finally:
            thaw(frozen)


def of(house: Gateway, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(b for b in house.api("bridges") if b["name"] == name)
    return found


def journalled(house: Gateway) -> int:
    return int(house.api("status")["ledger"]["sources"]["mqtt"]["journalled"])


@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_a_frozen_sink_costs_its_neighbour_nothing_and_drains_unaided(tmp_path: Path) -> None:
    seconds = 600 if FULL else 60
    with two_sinks(tmp_path) as (house, live, frozen, healthy):
        assert house.process is not None
        process = psutil.Process(house.process.pid)
        time.sleep(5)
        began = time.monotonic()
        time.sleep(16)
        before = time.monotonic()
        resident = process.memory_info().rss
        freeze(frozen)
        most = resident
        while time.monotonic() - before < seconds:
            time.sleep(1)
            most = max(most, process.memory_info().rss)
        thawed = time.monotonic()
        stuck = of(house, "frozen")
        assert stuck["state"] == "failing"
        assert stuck["pending"] > RATE * (seconds - 10)
        thaw(frozen)
        house.wait(lambda: of(house, "frozen")["pending"] < stuck["pending"] - 2 * RATE, 60)
        draining, backlog = time.monotonic(), of(house, "frozen")["pending"]
        house.wait(lambda: of(house, "frozen")["pending"] < 2 * RATE, 240)
        drained = time.monotonic()
        time.sleep(3)
        control, during = live.p99s(began, before), live.p99s(before, thawed - 1)
        drain = live.p99(draining, max(drained, draining + 2))
        differences = house.differences()
        live.__exit__()
        house.wait(lambda: journalled(house) >= live.count)
        house.wait(lambda: of(house, "frozen")["pending"] == of(house, "healthy")["pending"] == 0)
        for server in (frozen, healthy):
            stored = sum(len(server.values(f"d{n}", "seq")) for n in range(DEVICES))
            assert stored == live.count
    speed = backlog / (drained - draining) / RATE
    # What the machine's own noise does to one and the same thing is no fault of the sink.
    quiet, noise = median(control), max(control) / min(control)
    outcome(
        "frozen-sink",
        seconds=seconds,
        healthy_p99_before=round(quiet, 3),
        healthy_p99_frozen=round(median(during), 3),
        healthy_p99_frozen_most=round(max(during), 3),
        healthy_p99_draining=round(drain, 3),
        control_spread=round(noise, 2),
        memory_growth_mib=round((most - resident) / MIB, 1),
        backlog=backlog,
        drained_at_times_live=round(speed, 1),
        seconds_until_drain=round(draining - thawed, 1),
    )
    assert set(differences.values()) == {0}
    assert median(during) / quiet <= max(1.10, noise)
    assert drain / quiet <= max(1.10, noise)
    assert most - resident < 48 * MIB
    assert speed >= 5


@pytest.mark.timeout(300)
def test_an_end_while_a_sink_is_frozen_takes_5_s_and_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM must not wait for a sink; what it had not acknowledged is sent after the start."""
    chance = seeded()
    longest = 0.0
    with influx_1(tmp_path / "influx") as server, mosquitto(tmp_path / "broker") as broker:
        house = Gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[bridge("sink", server.url)],
            journal={"gather": "100ms"},
        )
        publisher, sent = Publisher(broker.port, DEVICES), 0
        for _ in range(runs(3, 20)):
            house.start()
            house.wait(lambda: house.api("status")["broker"]["connected"])
            sent = publisher.run(sent, 500, 2_000)
            house.wait(lambda: of(house, "sink")["pending"] == 0)
            freeze(server)
            sent = publisher.run(sent, 500, 2_000)
            time.sleep(chance.uniform(0.1, 5.0))  # before, in and after the attempt's timeout
            began = time.monotonic()
            assert house.stop() == 0
            longest = max(longest, time.monotonic() - began)
            thaw(server)
        house.start()
        house.wait(lambda: of(house, "sink")["delivered"] == sent)
        assert of(house, "sink")["difference"] == 0
        stored = sum(len(server.values(f"d{n}", "seq")) for n in range(DEVICES))
        publisher.close()
        house.stop()
    outcome("end-with-frozen-sink", longest_s=round(longest, 2), sent=sent, stored=stored)
    assert stored == sent
    assert longest <= 5.0


@pytest.mark.timeout(300)
def test_a_sink_that_never_finishes_its_handshake(tmp_path: Path) -> None:
    """One bridge's connections hang while they open; the other delivers, and the end is quick."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        influx_1(tmp_path / "influx") as server,
        mosquitto(tmp_path / "broker") as broker,
        gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[
                bridge("silent", f"https://127.0.0.1:{silent.getsockname()[1]}"),
                bridge("healthy", server.url),
            ],
            journal={"gather": "100ms"},
        ) as house,
    ):
        house.wait(lambda: house.api("status")["broker"]["connected"])
        publisher = Publisher(broker.port, DEVICES)
        publisher.run(0, 2_000, 500)
        house.wait(lambda: of(house, "healthy")["delivered"] == 2_000, 10)
        assert of(house, "silent")["pending"] == 2_000
        assert of(house, "silent")["state"] == "failing"
        publisher.close()
        began = time.monotonic()
        assert house.stop() == 0
        took = time.monotonic() - began
    outcome("end-with-endless-handshake", seconds=round(took, 2))
    assert took <= 5.0
