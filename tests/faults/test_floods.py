"""Senders that send too much, or too many different things: they harm themselves only."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psutil
import pytest
from prometheus_client.utils import floatToGoString

from tests.support.command import environment
from tests.support.faults import outcome, runs, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher

QUIET = 10
RATE, BURST = 500, 2_000
SPEED = 20_000  # messages a second: what comes faster waits at the broker, in one queue for all


def rss(house: Gateway) -> float:
    """Memory of the gateway, without its broker, in MB."""
    assert house.process is not None
    return float(psutil.Process(house.process.pid).memory_info().rss) / 1e6


class Quiet:
    """Ten devices that speak twice a second each, and somebody who sees when each is decoded.

    delays: s from publishing to the reading being told; published: how many there were.
    """

    def __init__(self, house: Gateway, port: int) -> None:
        self.delays: list[float] = []
        self.published = 0
        self._stop = threading.Event()
        self._tail = subprocess.Popen(
            [sys.executable, "-m", "gateway", "tail", "quiet-*", "--json", "-c", str(house.config)],
            stdout=subprocess.PIPE, env=environment(), text=True,
        )  # fmt: skip
        self._publisher = Publisher(
            port,
            make=lambda number: b'{"n": %d, "sent": %.6f}' % (number, time.time()),
            client_id="quiet",
            topic=lambda number: b"devices/quiet-%d/telemetry" % (number % QUIET),
        )
        self._threads = [
            threading.Thread(target=self._listen),
            threading.Thread(target=self._speak),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self._tail.stdout is not None
        for line in self._tail.stdout:
            self.delays.append(time.time() - json.loads(line)["values"]["sent"])

    def _speak(self) -> None:
        self.published = self._publisher.run(0, 10**9, 2 * QUIET, self._stop)

    def finish(self, house: Gateway) -> int:
        """Stop; how many of the published readings history has."""
        self._stop.set()
        self._threads[1].join()
        self._publisher.close()

        def stored() -> int:
            return sum(len(house.values(f"quiet-{n}", "n", points=10_000)) for n in range(QUIET))

        acknowledged = len(self._publisher.acknowledged)
        house.wait(lambda: stored() >= acknowledged, 30)
        self._tail.terminate()
        self._threads[0].join()
        self._tail.wait()
        self.published = acknowledged  # the last one may be stored and not acknowledged yet
        return stored()


@contextmanager
def flooded(directory: Path, **limits: int) -> Iterator[tuple[Gateway, int]]:
    """A gateway with these limits; and its broker's port."""
    with (
        mosquitto(directory / "broker") as broker,
        gateway(
            directory / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            limits=limits,
        ) as house,
    ):
        yield house, broker.port


def settled(house: Gateway, published: int) -> None:
    """Return once the gateway has everything that was published, and has stored it."""

    def done() -> bool:
        source = house.api("status")["ledger"]["sources"]["mqtt"]
        return source["received"] >= published and source["in_flight"] == 0

    house.wait(done, 90)


def p99(delays: list[float]) -> float:
    return sorted(delays)[int(len(delays) * 0.99)]


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_device_that_floods_delays_no_other(tmp_path: Path) -> None:
    """20,000 messages a second of one device, beside ten quiet ones."""
    seconds = runs(8, 120)
    with flooded(tmp_path, rate=RATE, burst=BURST) as (house, port):
        quiet = Quiet(house, port)
        quiet.start()
        time.sleep(2)
        before = rss(house)
        loud = Publisher(port, 1, client_id="loud")
        began = time.monotonic()
        count = loud.run(0, 20_000 * seconds, 20_000)
        took = time.monotonic() - began
        loud.close()
        grown = rss(house) - before
        time.sleep(1)
        stored = quiet.finish(house)
        settled(house, count + quiet.published)
        status = house.api("status")
        source = status["ledger"]["sources"]["mqtt"]
        dropped = source["dropped"]["rate"]
        worst = p99(quiet.delays)
        outcome(
            "flood-of-one-device", offered=count, per_second=round(count / took), dropped=dropped,
            quiet=quiet.published, quiet_lost=max(quiet.published - stored, 0),
            quiet_p99_s=round(worst, 3), memory_mb=round(grown),
        )  # fmt: skip
        assert stored >= quiet.published
        assert worst <= 2.0, "the quiet devices' readings come within 2 s"
        assert set(house.differences().values()) == {0}
        # Everything is accounted for: passed or dropped, and the same wherever it is shown.
        assert count - BURST - RATE * (took + 3) <= dropped <= count - BURST
        assert status["limits"]["rate"]["refused"] == dropped
        assert house.api("devices/d0")["refused"] == dropped
        assert house.api("devices/quiet-0")["refused"] == 0
        assert source["received"] == count + stored
        metrics = house.get("/metrics").text
        told = f'berrygate_limit_refused_total{{limit="rate"}} {floatToGoString(dropped)}'
        assert told in metrics
        assert "over limits.rate" in house.log.read_text()
        assert house.log.read_text().count("over limits.rate") == 1
        assert grown < 150


def names(number: int) -> bytes:
    return b"devices/stranger-%d/telemetry" % number


def long_topics(number: int) -> bytes:
    return b"devices/l%d-%s/telemetry" % (number, b"x" * 8_000)


def same(number: int) -> bytes:
    return b"devices/one/telemetry"


def metrics(number: int) -> bytes:
    """Ten names never seen before."""
    return b"{%s}" % b", ".join(b'"metric-%d-%d": 1' % (number, n) for n in range(10))


def sets(number: int) -> bytes:
    """Another choice of twenty metrics each time."""
    chance = Random(number)
    chosen = chance.sample(range(20), chance.randint(2, 19))
    return b"{%s}" % b", ".join(b'"m%d": %d' % (n, number) for n in chosen)


def deep(number: int) -> bytes:
    return (b'{"a":' * 2_000 if number % 2 else b"[" * 5_000) + b"1"


def wide(number: int) -> bytes:
    return b"[%s]" % b",".join([b'{"v": 1}'] * 11_000)


def giant(number: int) -> bytes:
    return b'{"text": "%s"}' % (b"x" * (300_000 if number % 2 else 200_000))


def texts(number: int) -> bytes:
    """As much as one payload may hold, all of it to be kept."""
    return b"{%s}" % b",".join(b'"t%d":"%s"' % (n, b"x" * 230) for n in range(999))


def plain(number: int) -> bytes:
    return b'{"v": %d}' % number


FLOODS: dict[str, tuple[Callable[[int], bytes], Callable[[int], bytes], float]] = {
    "metrics": (same, metrics, 0.2),
    "sets of metrics": (lambda n: b"devices/sets/telemetry", sets, 0.2),
    "deep": (lambda n: b"devices/deep/telemetry", deep, 0.02),
    "wide": (lambda n: b"devices/wide/telemetry", wide, 0.005),
    "giant": (lambda n: b"devices/giant/telemetry", giant, 0.005),
    "device names": (names, plain, 1.0),  # last: it leaves no room for others
    "long topics": (long_topics, plain, 0.02),
}
"""What -> (its topics, its payloads, share of the count)."""


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_flood_of_things_never_seen_before_fills_no_memory(tmp_path: Path) -> None:
    """Distinct topics, names, metrics and sets of them; payloads too large, too deep, too wide."""
    seeded()
    total = runs(20_000, 100_000)
    devices, most = 1_000, 3_000
    with flooded(tmp_path, devices=devices, total_series=most) as (house, port):
        quiet = Quiet(house, port)
        quiet.start()
        house.wait(lambda: house.api("status")["devices"]["count"] == QUIET)
        before, published, grown = rss(house), 0, {}
        for name, (topic, make, share) in FLOODS.items():
            sender = Publisher(port, make=make, client_id="flood", topic=topic)
            count = max(int(total * share), 50)
            sender.run(0, count, SPEED)
            sender.close()
            published += count
            settled(house, published)
            grown[name] = round(rss(house) - before)
        stored = quiet.finish(house)
        settled(house, published + quiet.published)
        status = house.api("status")
        limits = status["limits"]
        print({name: limits[name] for name in limits}, grown)
        outcome(
            "flood-of-new-things", published=published, quiet=quiet.published,
            quiet_lost=max(quiet.published - stored, 0), quiet_p99_s=round(p99(quiet.delays), 3),
            memory_mb=max(grown.values()), refused=sum(e["refused"] for e in limits.values()),
        )  # fmt: skip
        assert stored >= quiet.published
        assert set(house.differences().values()) == {0}
        assert limits["devices"]["used"] <= devices
        assert limits["devices"]["refused"] >= total - devices
        assert limits["total_series"]["used"] <= most
        assert limits["series"]["used"] <= 1_000
        assert limits["series"]["refused"] + limits["total_series"]["refused"] > 0
        assert limits["topic"]["refused"] == max(int(total * 0.02), 50)
        assert limits["payload"]["refused"] == max(int(total * 0.005), 50) // 2
        assert max(grown.values()) < 200, grown
        assert p99(quiet.delays) <= 2.0, "the quiet devices' readings come within 2 s"


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_what_comes_faster_than_history_can_write_waits_on_the_disk(tmp_path: Path) -> None:
    """Payloads as large as they may be, all of them to be kept, as fast as the broker takes them:
    they wait in the journal and not in memory."""
    count = runs(500, 4_000)
    with flooded(tmp_path) as (house, port):
        before, peak = rss(house), 0.0
        sender = Publisher(port, make=texts, topic=lambda number: b"devices/texts/telemetry")
        sender.run(0, count)
        sender.close()

        def kept() -> bool:
            nonlocal peak
            peak = max(peak, rss(house) - before)
            status = house.api("status")
            journalled = status["ledger"]["sources"]["mqtt"]["journalled"]
            return bool(journalled >= count and not status["journal"]["history_behind"])

        house.wait(kept, 300)
        assert len(house.values("texts", "t0", points=10_000)) == count
        megabytes = count * len(texts(0)) / 1e6
        outcome(
            "flood-of-long-texts", published=count, megabytes=round(megabytes),
            memory_mb=round(peak), lost=0,
        )  # fmt: skip
        assert set(house.differences().values()) == {0}
        assert peak < 150
