"""A gateway between a broker and InfluxDB under load, which can be stopped at any point and killed
with or without its broker; and the accounts of what the broker, the gateway and the sink have."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway
from tests.support.influx import Influx1, influx_1
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.packets import PacketProxy, kind_of, packet_id, packet_proxy
from tests.support.points import Point, Ports, stopping
from tests.support.ports import free_port
from tests.support.publisher import Publisher, payload

DEVICES = 3
RATE = 600


class Acknowledged:
    """The numbers that the gateway has acknowledged to the broker, as seen on the wire."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self._given: dict[tuple[int, int], int] = {}

    def __call__(self, connection: int, packet: bytes) -> None:
        """Look at a packet that passes."""
        kind = kind_of(packet)
        if kind == "PUBLISH" and packet[0] & 0x06 and b'"seq": ' in packet:
            number = int(packet.split(b'"seq": ')[1].split(b",")[0])
            self._given[connection, packet_id(packet)] = number
        elif kind == "PUBACK" and (connection, packet_id(packet)) in self._given:
            self.numbers.add(self._given.pop((connection, packet_id(packet))))


@dataclass
class Kills:
    """See the module. broker: the one that is not embedded. hits: how often it was stopped at each
    point."""

    house: Gateway
    influx: Influx1
    proxy: PacketProxy
    publisher: Publisher
    acknowledged: Acknowledged
    broker: Mosquitto | None
    hits: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    @property
    def pid(self) -> int:
        """The gateway's process id."""
        assert self.house.process is not None
        return self.house.process.pid

    def flowing(self) -> None:
        """Wait until readings come, and some of this life have reached the sink."""
        before: list[int] = []

        def flows() -> bool:
            status = self.house.api("status")
            before.append(status["ledger"]["sources"]["mqtt"]["received"])
            return bool(before[-1] > before[0] and status["bridges"][0]["delivered_at"])

        self.house.wait(flows)

    @contextmanager
    def stopped(self, point: Point, chance: random.Random, how: str) -> Iterator[bool]:
        """Let the gateway run into a point; True while it stands still there (or was killed)."""
        count = chance.randint(1, point.most)
        ports, log = Ports(self.proxy.port, self.influx.port), self.house.directory / "strace"
        with stopping(self.pid, point, count, ports, log, how) as stop:
            hit = stop.wait(15)
            self.hits[f"{'before' if how == 'SIGKILL' else 'after'} {point.name}"] += hit
            yield hit

    @contextmanager
    def load(self) -> Iterator[None]:
        """Publish all the while; at the end wait until all of it is acknowledged."""
        stop = threading.Event()

        def publish() -> None:
            while not stop.is_set():
                self.sent = self.publisher.run(self.sent, RATE, RATE, stop)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self.publisher.run(self.sent, 0)
        self.publisher.close()

    def settle(self) -> None:
        """Wait until nothing is on its way any more."""
        seen: list[Any] = []

        def quiet() -> bool:
            status = self.house.api("status")
            source = status["ledger"]["sources"]["mqtt"]
            bridge = status["ledger"]["bridges"]["sink"]
            seen.append((time.monotonic(), source["received"], bridge["delivered"]))
            still = [at for at, *counts in seen if counts == list(seen[-1][1:])]
            away = status["sources"][0]["state"] != "running"
            busy = away or source["in_flight"] or bridge["pending"]
            return not busy and seen[-1][0] - still[0] > 1.5

        self.house.wait(quiet)

    def stored(self) -> tuple[Counter[int], Counter[int]]:
        """How often each number is in history, and in InfluxDB."""
        devices = [f"d{number}" for number in range(DEVICES)]
        return (
            Counter(int(v) for device in devices for v in self.house.values(device, "seq")),
            Counter(int(v) for device in devices for v in self.influx.values(device, "seq")),
        )

    def check(self) -> Counter[int]:
        """How often each number is in history, after a check that InfluxDB has the same numbers,
        and that they are accounted for and were sent by us."""
        history, influx = self.stored()
        assert set(influx) == set(history), "history and InfluxDB differ"
        assert set(history) <= set(range(self.sent)), "something that nobody sent"
        assert set(self.house.differences().values()) == {0}
        lost = self.acknowledged.numbers - set(history)
        assert lost == set(), "lost what the gateway had acknowledged"
        return history

    def lives(self) -> dict[int, list[int]]:
        """What the broker acknowledged in each of its lives, in order."""
        lives: dict[int, list[int]] = {}
        for number, (life, _) in sorted(self.publisher.answers.items()):
            lives.setdefault(life, []).append(number)
        return lives


@contextmanager
def kills(
    directory: Path,
    *,
    embedded: bool,
    extra: str = "",
    make: Callable[[int], bytes] = payload,
    longest: float = 0.0,
) -> Iterator[Kills]:
    """A gateway with its embedded broker, or with another one. extra: that one's configuration.
    make: the payload of each number. longest: how long history's full buffers wait (s)."""
    with ExitStack() as stack:
        influx = stack.enter_context(influx_1(directory / "influx"))
        broker = None
        if not embedded:
            broker = stack.enter_context(mosquitto(directory / "broker", extra))
        port = broker.port if broker else free_port()
        acknowledged = Acknowledged()
        proxy = stack.enter_context(packet_proxy(port, acknowledged))
        house = Gateway(
            directory / "gateway",
            broker={"embedded": embedded, "port": port},
            devices=[{"type": "mqtt", "url": f"mqtt://127.0.0.1:{proxy.port}"}],
            bridges=[{
                "type": "influxdb", "name": "sink", "version": "1", "url": influx.url,
                "database": "test", "batch": {"wait": "200ms"}, "retry": {"max": "1s"},
            }],
            journal={"gather": "200ms"},
        )  # fmt: skip
        house.module = "tests.support.eager"
        house.environment["HISTORY_LONGEST"] = str(longest)
        house.start()
        house.wait(lambda: house.api("status")["sources"][0]["state"] == "running")
        publisher = Publisher(port, DEVICES, make, clean=False)
        try:
            yield Kills(house, influx, proxy, publisher, acknowledged, broker)
        finally:
            if house.process is not None and house.process.poll() is None:
                house.stop()


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
