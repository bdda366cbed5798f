"""Bad records among good ones cost the good ones nothing: neither themselves nor their time."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridges.influxdb import InfluxdbSettings
from gateway.core.contracts import Bridge, Context, Endpoint, Reading
from tests.support.delivering import delivering
from tests.support.faults import FULL, outcome, runs, seeded
from tests.support.gateway import gateway
from tests.support.http_peer import Asked, Said, http_peer
from tests.support.influx import influx_1
from tests.support.influx2 import BUCKET, ORG, TOKEN, Influx2, influx_2
from tests.support.journal import publish
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher, payload

BATCH = 500
BAD = (
    b"{", b"", b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 5_000, b"not json", b'{"a": 1e999}', b"{}",
    b'{"time": "yesterday", "a": 1}', b'{"": 1}', b"null", b'{"a": "' + b"x" * 5_000 + b'"}',
)  # fmt: skip


def influx(url: str, version: str) -> Bridge[Any]:
    given = {
        "1": {"version": "1", "database": "test"},
        "2": {"token": TOKEN, "org": ORG, "bucket": BUCKET},
    }[version]
    settings = InfluxdbSettings.model_validate({"url": url, **given})
    return settings.build("sink", Context("gw", "berrygate", Path(), Endpoint(), lambda e: None))


class Counted:
    """A bridge, and how many requests it made."""

    def __init__(self, bridge: Bridge[Any]) -> None:
        self.name = bridge.name
        self.requests = 0
        self._bridge = bridge

    def connect(self) -> Any:
        return self._bridge.connect()

    async def send(self, conn: Any, batch: Any) -> None:
        def counting(body: bytes) -> Any:
            self.requests += 1
            return conn(body)

        await self._bridge.send(counting, batch)


def poisoned(since: int, chance: random.Random) -> list[Reading]:
    """A batch whose field is a number, but in one record a text."""
    readings = [
        Reading("soil", time.time_ns() + n, {"n": float(n)}) for n in range(since, since + BATCH)
    ]
    readings[chance.randrange(BATCH)].values = {"n": "text"}
    return readings


@contextmanager
def unnamed(server: Influx2) -> Iterator[str]:
    """In front of a server that then refuses a whole batch and does not say why: its worst."""

    def answer(asked: Asked) -> Said:
        if b'n="text"' in asked.body:
            return Said(400, b'{"code":"invalid","message":"the batch is not to our liking"}')
        taken = httpx.post(server.url + asked.path, content=asked.body,
                           headers={"Authorization": f"Token {TOKEN}"})  # fmt: skip
        return Said(taken.status_code, taken.content)

    with http_peer(answer) as peer:
        yield peer.url


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sink", ["influxdb-1", "influxdb-2", "unnamed"])
async def test_one_bad_record_in_each_batch_of_500(tmp_path: Path, sink: str) -> None:
    chance, batches = seeded(), runs(5, 100)
    with influx_1(tmp_path / "influx") as first, influx_2() as second, unnamed(second) as worst:
        url = {"influxdb-1": first.url, "influxdb-2": second.url, "unnamed": worst}[sink]
        bridge = Counted(influx(url, "1" if sink == "influxdb-1" else "2"))
        pool = {"max": 1}
        size = {"size": BATCH, "wait": "5s"}
        async with delivering(tmp_path, bridge, pool=pool, batch=size) as work:
            await publish(work.bus, [Reading("soil", time.time_ns() - 10**9, {"n": -1.0})] * BATCH)
            await work.settled()  # from here on the field is a number
            most = 0
            for number in range(batches):
                before = bridge.requests
                await publish(work.bus, poisoned(number * BATCH, chance))
                await work.settled()
                most = max(most, bridge.requests - before)
            ledger = work.ledger
            assert ledger["delivered"] == BATCH + batches * (BATCH - 1)
            assert ledger["dead_lettered"] == batches
            letters = await work.letters.list("sink", limit=1_000)
            assert len(letters) == batches
            for letter in letters:
                assert letter.reading is not None
                assert letter.reading.values == {"n": "text"}
                told = "the batch is not to our" if sink == "unnamed" else "field type conflict"
                assert told in letter.detail
            stored = first.values("soil", "n") if sink == "influxdb-1" else second.points
            assert len(stored) == 1 + batches * (BATCH - 1)
            # 1 + 2 for each halving of 500 where nothing is named; a single one where it is.
            assert most <= (20 if sink == "unnamed" else 1)
            assert work.delivery.pool.breaker.state.value == "closed"
        outcome(f"poison-{sink}", batches=batches, requests_for_a_batch=most)


def kinds(number: int) -> bytes:
    """Every hundredth message is bad, of one kind after another."""
    return BAD[number // 100 % len(BAD)] if number % 100 == 99 else payload(number)


class Stamped:
    """Publishes at a rate, and remembers when each number was sent."""

    def __init__(self, port: int, make: Any, devices: int) -> None:
        self.sent: dict[int, float] = {}
        self._make = make
        self.publisher = Publisher(port, devices, self._one)

    def _one(self, number: int) -> bytes:
        self.sent.setdefault(number, time.time())
        return bytes(self._make(number))


def delays(
    stamped: Stamped, first: int, seconds: float, rate: int, peer_seen: dict[int, float]
) -> list[float]:
    """Publish for some seconds; from publish to the sink's request, for each good message (s)."""
    count = int(seconds * rate)
    stamped.publisher.run(first, count, rate)
    wanted = [n for n in range(first, first + count) if stamped._make(n)[:6] == b'{"seq"']
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not peer_seen.keys() >= set(wanted):
        time.sleep(0.05)
    assert set(wanted) <= peer_seen.keys(), "good ones are missing"
    return sorted(peer_seen[number] - stamped.sent[number] for number in wanted)


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_bad_payloads_of_twelve_kinds_delay_no_good_one(tmp_path: Path) -> None:
    """1 % malformed payloads at 1,000 messages/s: nothing good waits longer than 2 s."""
    rate, seconds, devices = 1_000, (60 if FULL else 8), 10
    seen: dict[int, float] = {}

    with (
        influx_1(tmp_path / "influx") as server,
        mosquitto(tmp_path / "broker") as broker,
        http_peer(lambda asked: passing(asked, server.url, seen)) as peer,
        gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[{"type": "influxdb", "name": "sink", "version": "1", "url": peer.url,
                      "database": "test", "batch": {"wait": "200ms"}}],
            journal={"gather": "200ms"},
        ) as house,
    ):  # fmt: skip
        house.wait(lambda: house.api("status")["broker"]["connected"])
        good, bad = (Stamped(broker.port, make, devices) for make in (payload, kinds))
        delays(good, 0, 2, rate, seen)  # the first ones warm everything up
        without = delays(good, 10_000, seconds, rate, seen)
        bad.publisher._client_id = b"other"
        with_bad = delays(bad, 1_000_000, seconds, rate, seen)
        status = house.api("status")
        letters = status["ledger"]["sources"]["mqtt"]["dead_lettered"]
        assert letters == seconds * rate // 100
        assert set(house.differences().values()) == {0}
        reasons = {group["reason"] for group in house.api("bridges/mqtt/dead-letters")["groups"]}
        for publisher in (good.publisher, bad.publisher):
            publisher.close()
    figures = {
        "without_p50": without[len(without) // 2], "without_most": without[-1],
        "with_p50": with_bad[len(with_bad) // 2], "with_most": with_bad[-1],
    }  # fmt: skip
    outcome(
        "poison-twelve-kinds", dead_letters=letters, reasons=len(reasons),
        late=sum(delay > 2.0 for delay in with_bad),
        **{name: round(value, 3) for name, value in figures.items()},
    )  # fmt: skip
    assert sum(delay > 2.0 for delay in with_bad) == 0


def passing(asked: Asked, url: str, seen: dict[int, float]) -> Said:
    """Hand a write on to the real server, and note when each number was taken."""
    answer = _client().post(url + asked.path, content=asked.body)
    now = time.time()
    for line in asked.body.split(b"\n"):
        at = line.find(b"seq=")
        if at >= 0:
            number = int(float(line[at + 4 :].split(b",")[0].split(b" ")[0]))
            seen.setdefault(number, now)
    return Said(answer.status_code, answer.content)


_local = threading.local()


def _client() -> httpx.Client:
    """One for each thread of the peer."""
    if not hasattr(_local, "client"):
        _local.client = httpx.Client(trust_env=False, timeout=10)
    found: httpx.Client = _local.client
    return found
