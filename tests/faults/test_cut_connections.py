"""Connections cut before, in the middle of and after each kind of packet: nothing is lost or twice.

Every source of the gateway has a proxy of its own, which reads the packets that pass and cuts.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.faults import FULL, outcome, runs, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.influx import influx_1
from tests.support.mosquitto import mosquitto
from tests.support.packets import Cut, PacketProxy, message_of, packet_proxy
from tests.support.publisher import Publisher

OPENING = ("CONNECT", "CONNACK", "SUBSCRIBE", "SUBACK")
PINGS = ("PINGREQ", "PINGRESP")
KINDS = (*OPENING, "PUBLISH", "PUBACK")
PLACES = ("before", "middle", "after")
VERSIONS = ("3.1.1", "5")
RATE = 400


@dataclass
class Line:
    """One source behind its proxy, and where its connection is cut."""

    number: int
    version: str
    kind: str
    where: str
    proxy: PacketProxy

    def source(self) -> dict[str, Any]:
        """Its configuration: it hears one device."""
        return {
            "type": "mqtt", "id": f"s{self.number}", "device": f"d{self.number}",
            "topics": [f"devices/d{self.number}/telemetry"],
            "url": f"mqtt://127.0.0.1:{self.proxy.port}", "protocol": self.version,
        }  # fmt: skip

    def cut(self, chance: random.Random) -> Cut:
        """Cut from now on; what comes only with a new connection, in the next one."""
        nth = 1 if self.kind in (*OPENING, *PINGS) else chance.randint(1, 20)
        cut = self.proxy.cut_next(Cut(self.kind, nth, self.where))
        if self.kind in OPENING:
            self.proxy.cut()
        return cut


class House(NamedTuple):
    """A gateway, its lines and who publishes on them."""

    gateway: Gateway
    lines: list[Line]
    publisher: Publisher


def running(house: Gateway) -> bool:
    """Whether every source has its connection."""
    return all(source["state"] == "running" for source in house.api("status")["sources"])


def check(house: Gateway, publisher: Publisher, sent: int, lines: int) -> int:
    """Everything is there once; how many messages came twice and were recognised."""
    assert publisher.acknowledged == set(range(sent))

    def arrived() -> bool:
        sources = house.api("status")["ledger"]["sources"].values()
        return sum(source["journalled"] for source in sources) >= sent

    house.wait(arrived)
    time.sleep(1.0)  # what came twice would come now
    found = Counter(int(v) for d in range(lines) for v in house.values(f"d{d}", "seq"))
    assert set(range(sent)) - set(found) == set(), "lost"
    assert [n for n, count in found.items() if count > 1] == [], "twice"
    assert set(house.differences().values()) == {0}
    return sum(s["repeated"] for s in house.api("status")["ledger"]["sources"].values())


def cut_all(house: Gateway, lines: list[Line], chance: random.Random) -> None:
    """Cut each line once, and wait until all of them are connected again."""
    cuts = [(line, line.cut(chance)) for line in lines]
    for line, cut in cuts:
        assert cut.done.wait(60), f"MQTT {line.version}: {line.kind} never came"
    house.wait(lambda: running(house))


@contextmanager
def gateway_with_lines(directory: Path, kinds: Sequence[str]) -> Iterator[House]:
    """A gateway with a line for each version of MQTT, kind of packet and place."""
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto(directory / "broker"))
        lines = [
            Line(number, version, kind, where, stack.enter_context(packet_proxy(broker.port)))
            for number, (version, kind, where) in enumerate(product(VERSIONS, kinds, PLACES))
        ]
        house = stack.enter_context(
            gateway(
                directory / "gateway",
                broker={"embedded": False, "port": broker.port},
                devices=[line.source() for line in lines],
                journal={"gather": "200ms"},
            )
        )
        house.wait(lambda: running(house))
        yield House(house, lines, Publisher(broker.port, len(lines)))


@pytest.mark.timeout(900 if FULL else 200)
def test_connection_cut_at_every_packet_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance, rounds = seeded(), runs(1, 5)
    with gateway_with_lines(tmp_path, KINDS) as (house, lines, publisher):
        stop, sent = threading.Event(), [0]

        def publish() -> None:
            while not stop.is_set():
                sent[0] = publisher.run(sent[0], RATE, RATE, stop)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(rounds):
                cut_all(house, lines, chance)
        finally:
            stop.set()
            thread.join()
        publisher.run(sent[0], 0)
        recognised = check(house, publisher, sent[0], len(lines))
        outcome(
            "connection-cut", rounds=rounds, cuts=rounds * len(lines), published=sent[0],
            lost=0, repeated=0, sent_again_and_recognised=recognised,
        )  # fmt: skip


@pytest.mark.slow  # nothing is pinged before 30 s of silence
@pytest.mark.timeout(300)
def test_connection_cut_at_a_ping_loses_nothing_that_comes_after_it(tmp_path: Path) -> None:
    chance = seeded()
    with gateway_with_lines(tmp_path, PINGS) as (house, lines, publisher):
        cut_all(house, lines, chance)
        sent = publisher.run(0, 20 * len(lines))
        check(house, publisher, sent, len(lines))
        outcome("connection-cut-at-ping", cuts=len(lines), published=sent, lost=0, repeated=0)


@pytest.mark.timeout(900 if FULL else 200)
def test_connection_to_a_sink_cut_at_every_message_loses_nothing(tmp_path: Path) -> None:
    chance, rounds = seeded(), runs(2, 20)
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto(tmp_path / "broker"))
        influx = stack.enter_context(influx_1(tmp_path / "influx"))
        seen: Counter[str] = Counter()
        proxy = stack.enter_context(
            packet_proxy(influx.port, lambda _, m: seen.update([message_of(m)]), http=True)
        )
        house = stack.enter_context(
            gateway(
                tmp_path / "gateway",
                broker={"embedded": False, "port": broker.port},
                devices=[{"type": "mqtt"}],
                bridges=[{
                    "type": "influxdb", "name": "sink", "version": "1", "database": "test",
                    "url": f"http://127.0.0.1:{proxy.port}", "batch": {"wait": "50ms"},
                    "retry": {
                        "base": "50ms", "max": "200ms", "breaker": {"failures": 100, "rate": 1},
                    },
                }],
                journal={"gather": "50ms"},
            )
        )  # fmt: skip
        publisher, stop, sent = Publisher(broker.port, 3), threading.Event(), [0]

        def publish() -> None:
            while not stop.is_set():
                sent[0] = publisher.run(sent[0], RATE, RATE, stop)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            ways = list(product(("request", "answer"), PLACES))
            for _ in range(rounds):
                for kind, where in chance.sample(ways, len(ways)):
                    cut = proxy.cut_next(Cut(kind, chance.randint(1, 5), where))
                    assert cut.done.wait(60), f"no {kind} came"
        finally:
            stop.set()
            thread.join()
        publisher.run(sent[0], 0)

        def delivered() -> bool:
            ledger = house.api("status")["ledger"]["bridges"]["sink"]
            return bool(ledger["matched"] >= sent[0] and ledger["pending"] == 0)

        house.wait(delivered)
        found = Counter(int(v) for d in range(3) for v in influx.values(f"d{d}", "seq"))
        assert set(found) == set(range(sent[0])), "lost"
        assert [n for n, count in found.items() if count > 1] == [], "twice, under another time"
        assert set(house.differences().values()) == {0}
        ledger = house.api("status")["ledger"]["bridges"]["sink"]
        assert ledger["delivered"] == sent[0]
        outcome(
            "sink-cut", rounds=rounds, cuts=rounds * len(ways), published=sent[0], lost=0,
            requests=seen["request"], answers=seen["answer"],
        )  # fmt: skip
