"""After an outage what is new goes first, where a bridge asks for it; nothing is lost by that."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.http_peer import Asked, Said, http_peer
from tests.support.influx import Influx1, influx_1
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher

DEVICES, RATE, BATCH = 8, 250, 50
OUTAGE = 14.0
FRESH = 5.0  # the least that can be asked for
_LINE = re.compile(rb"seq=(\d+).* (\d{19})$", re.MULTILINE)


@dataclass
class Accepted:
    """One write that InfluxDB took. at: when (s, epoch); ages: of its readings (s) by number."""

    at: float
    ages: dict[int, float]

    @property
    def is_old(self) -> bool:
        """Whether it has what came in the first half of the outage, or before."""
        return max(self.ages.values()) > OUTAGE / 2


@dataclass
class Fleet:
    """A gateway under load, and InfluxDB behind something that notes what it takes."""

    house: Gateway
    influx: Influx1
    publisher: Publisher
    accepted: list[Accepted] = field(default_factory=list)
    sent: int = 0

    def old(self) -> bool:
        """Whether something old has been taken."""
        return any(each.is_old for each in self.accepted)

    def goes_on(self, taken: int) -> bool:
        """Whether several old ones have been taken behind the first so many."""
        return sum(each.is_old for each in self.accepted[taken:]) > 3

    def settle(self) -> dict[str, Any]:
        """Wait until all is delivered; the bridge. Nothing is missing and nothing unexplained."""
        status = self.house.api
        self.house.wait(lambda: status("status")["ledger"]["sources"]["mqtt"]["in_flight"] == 0)
        self.house.wait(lambda: self._pending() == 0)
        assert self.house.differences() == {"mqtt": 0, "cloud": 0}
        found: dict[str, Any] = status("bridges")[0]
        assert not found["set_aside"]
        there = [int(n) for d in range(DEVICES) for n in self.influx.values(f"d{d}", "seq")]
        assert sorted(there) == list(range(self.sent))
        return found

    def _pending(self) -> int:
        bridge = self.house.api("bridges")[0]
        return int(bridge["pending"]) if bridge["matched"] >= self.sent else -1


@contextmanager
def fleet(directory: Path, **retry: Any) -> Iterator[Fleet]:
    """One that has been under load for a while, and still is."""
    found: list[Fleet] = []

    def passing(asked: Asked) -> Said:
        time.sleep(0.03)  # a server that is far away: a backlog takes a few seconds
        try:
            answer = httpx.post(influx.url + asked.path, content=asked.body, timeout=5)
        except httpx.TransportError:
            return Said(503, b"away")
        if answer.is_success and found:
            now = time.time()
            ages = {int(n): now - int(at) / 1e9 for n, at in _LINE.findall(asked.body)}
            if ages:
                found[0].accepted.append(Accepted(now, ages))
        return Said(answer.status_code, answer.content)

    with (
        influx_1(directory / "influx") as influx,
        mosquitto(directory / "broker") as broker,
        http_peer(passing) as peer,
    ):
        bridge = {
            "type": "influxdb", "name": "cloud", "version": "1", "database": "test",
            "url": peer.url, "pool": {"max": 2}, "batch": {"size": BATCH, "wait": "200ms"},
            "retry": {"base": "100ms", "max": "500ms", "breaker": {"reset": "500ms"}, **retry},
        }  # fmt: skip
        house = Gateway(
            directory / "gateway", broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}], bridges=[bridge], journal={"gather": "200ms"},
        ).start()  # fmt: skip
        house.wait(lambda: house.api("status")["broker"]["connected"])
        here = Fleet(house, influx, Publisher(broker.port, DEVICES))
        found.append(here)
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                here.sent = here.publisher.run(here.sent, RATE, RATE)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            house.wait(lambda: len(here.accepted) > 5)
            yield here
        finally:
            stop.set()
            thread.join(30)
            try:
                here.settle()
            finally:
                house.stop()


def outage(here: Fleet) -> None:
    """InfluxDB is away for a while; what it takes from then on is noted."""
    here.influx.stop()
    time.sleep(OUTAGE)
    here.accepted.clear()
    here.influx.start()


@pytest.mark.timeout(180)
def test_what_is_new_goes_first(tmp_path: Path) -> None:
    with fleet(tmp_path, fresh_first="5s") as here:
        outage(here)
        here.house.wait(here.old)
        behind = here.house.api("bridges")[0]
        assert (behind["set_aside"], behind["oldest"] > FRESH) == (True, True)
        here.house.wait(lambda: not here.house.api("bridges")[0]["set_aside"], 60)
    ages = [max(each.ages.values()) for each in here.accepted]
    first = next(place for place, age in enumerate(ages) if age > OUTAGE / 2)
    beside = [age for age in ages[first:] if age < OUTAGE / 2]
    print(f"first writes: oldest readings {[round(age, 1) for age in ages[:5]]} s old; "
          f"old ones from write {first} on, {len(beside)} new ones among them")  # fmt: skip
    assert max(ages[:2]) < OUTAGE / 2
    assert first >= 2
    assert len(beside) > 5  # and the new ones went on


@pytest.mark.timeout(180)
def test_unless_asked_for_it_the_oldest_goes_first(tmp_path: Path) -> None:
    with fleet(tmp_path) as here:
        outage(here)
        here.house.wait(here.old)
    ages = [max(each.ages.values()) for each in here.accepted]
    print(f"first writes: oldest readings {[round(age, 1) for age in ages[:5]]} s old")
    assert min(ages[:2]) > OUTAGE / 2


@pytest.mark.timeout(240)
def test_a_kill_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    most = 0
    with fleet(tmp_path, fresh_first="5s") as here:
        outage(here)
        for _ in range(2):
            taken = len(here.accepted)
            here.house.wait(partial(here.goes_on, taken))
            assert here.house.api("bridges")[0]["set_aside"]
            here.house.kill()
            recent = [each for each in here.accepted if each.at > time.time() - 1.0]
            # Two lanes and the backlog; and what the cursor may not have told of yet.
            most += 3 * BATCH + sum(len(each.ages) for each in recent)
            here.house.start()
    times = Counter(number for each in here.accepted for number in each.ages)
    again = times.total() - len(times)
    print(f"taken again after two kills: {again} of {len(times)} (at most {most})")
    assert again <= most
