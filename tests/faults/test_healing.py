"""Hundreds of failures, one after another, on both sides of a gateway under load: it heals without
anybody's help, and not a reading is lost.

Each failure ends by itself; then the gateway must be well again within HEALED: its sources
connected, its bridge running, and what was published by then delivered. If it is not, it is started
again and the failure counts as not healed.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from tests.faults.failures import KINDS, Failure, listed, made
from tests.support.faults import FULL, outcome
from tests.support.gateway import Gateway, gateway
from tests.support.influx import Influx1, influx_1
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.proxy import Proxy, Trouble, proxy
from tests.support.publisher import Publisher

RATE = 100
DEVICES = 5
HEALED = 60.0
"""Longest that healing may take (s). An MQTT client that was cut off several times in a row waits
up to 30 s before it connects again, and here the next failure comes at once."""

HEALTH = 0.95


def said(status: str, *headers: str, body: str = "") -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


REPLIES = {
    "sink-fails": said("500 Internal Server Error"),
    "sink-overloaded": said("503 Service Unavailable", "Retry-After: 1"),
    "sink-limits": said("429 Too Many Requests", "Retry-After: 1"),
    "sink-denies": said("401 Unauthorized"),
    "sink-behind-portal": said("200 OK", "Content-Type: text/html", body="<h1>Sign in</h1>"),
}


class House:
    """A gateway between a broker and a sink, each behind a proxy, under load all the time."""

    def __init__(
        self, house: Gateway, broker: Mosquitto, near: Proxy, influx: Influx1, far: Proxy
    ) -> None:
        self.gateway, self.broker, self.influx = house, broker, influx
        self.near, self.far = near, far
        self.sent = 0
        self._stop = threading.Event()
        self.publisher = Publisher(broker.port, DEVICES)
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self) -> None:
        while not self._stop.is_set():
            self.sent = self.publisher.run(self.sent, RATE // 4, RATE, self._stop)

    def end(self) -> None:
        """Publish no more; returns once the broker has acknowledged everything."""
        self._stop.set()
        self._thread.join()
        self.sent = self.publisher.run(self.sent, 0)
        self.publisher.close()

    def bridge(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.api("bridges")[0]
        return found

    def well(self, acknowledged: int) -> bool:
        """Whether everything runs, and so many messages have come all the way."""
        status = self.gateway.api("status")
        bridge = status["bridges"][0]
        return (
            all(source["state"] == "running" for source in status["sources"])
            and bridge["state"] == "running"
            and bridge["delivered"] >= acknowledged
        )

    def suffer(self, failure: Failure) -> None:
        """One failure, from its beginning to its end."""
        side, _, what = failure.kind.partition("-")
        if failure.kind in REPLIES:
            self._through(self.far, failure, Trouble(reply=REPLIES[failure.kind]))
        elif failure.kind == "sink-frozen":
            assert self.influx.process is not None
            self.influx.process.send_signal(signal.SIGSTOP)
            time.sleep(failure.seconds)
            self.influx.process.send_signal(signal.SIGCONT)
        elif failure.kind in ("sink-killed", "broker-restarted"):
            self._away(failure)
        else:
            self._on_the_way(self.far if side == "sink" else self.near, what, failure)

    def _away(self, failure: Failure) -> None:
        if failure.kind == "broker-restarted":
            self.broker.stop()  # in good order: what it has acknowledged it still has
            time.sleep(failure.seconds)
            self.broker.start()
            return
        assert self.influx.process is not None
        self.influx.process.kill()
        self.influx.process.wait()
        time.sleep(failure.seconds)
        self.influx.start()

    def _on_the_way(self, way: Proxy, what: str, failure: Failure) -> None:
        size = int(failure.amount)
        troubles = {
            "refused": Trouble(refuse=True),
            "slow": Trouble(delay=failure.amount),
            "throttled": Trouble(rate=failure.amount),
            "request-truncated": Trouble(request=size),
            "answer-truncated": Trouble(answer=size),
            "truncated": Trouble(answer=size),
            "swallows": Trouble(swallow=True),
            "garbled": Trouble(noise=True),
        }
        if what in ("cut", "reset"):
            getattr(way, what)()
            time.sleep(failure.seconds)
            return
        if what == "refused":
            way.reset()
        self._through(way, failure, troubles[what])
        if what == "swallows":
            way.reset()  # whoever comes back after a silence no longer knows the connection

    @staticmethod
    def _through(way: Proxy, failure: Failure, trouble: Trouble) -> None:
        way.trouble = trouble
        time.sleep(failure.seconds)
        way.trouble = Trouble()


@contextmanager
def under_load(directory: Path) -> Iterator[House]:
    """The whole of it."""
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto(directory / "broker"))
        influx = stack.enter_context(influx_1(directory / "influx"))
        near = stack.enter_context(proxy(broker.port))
        far = stack.enter_context(proxy(influx.port))
        sink = {
            "type": "influxdb", "name": "sink", "version": "1", "database": "test",
            "url": f"http://127.0.0.1:{far.port}", "timeout": "1s", "batch": {"wait": "100ms"},
            "retry": {"base": "50ms", "max": "1s", "breaker": {"reset": "500ms"}},
        }  # fmt: skip
        running = stack.enter_context(
            gateway(
                directory / "gateway",
                broker={"embedded": False, "port": near.port},
                devices=[{"type": "mqtt"}],
                bridges=[sink],
                journal={"gather": "50ms"},
            )
        )
        running.wait(lambda: running.api("status")["broker"]["connected"])
        house = House(running, broker, near, influx, far)
        try:
            yield house
        finally:
            if house._thread.is_alive():
                house.end()


def within(condition: Callable[[], bool], seconds: float) -> float | None:
    """How long it took until that was so; None where it took too long."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def chosen() -> list[Failure]:
    """All of them in the full form, else the first of each kind."""
    failures = listed()
    return failures if FULL else list({f.kind: f for f in reversed(failures)}.values())


def test_the_list_of_failures_is_the_one_of_its_seed() -> None:
    failures = listed()
    assert failures == made()
    assert len(failures) >= 200
    assert {failure.kind for failure in failures} == set(KINDS)
    assert len(KINDS) >= 12


@pytest.mark.timeout(3_600 if FULL else 300)
def test_failures_heal_unaided_and_lose_nothing(tmp_path: Path) -> None:
    failures = chosen()
    took: list[float] = []
    not_healed: Counter[str] = Counter()
    with under_load(tmp_path) as house:
        pid = house.gateway.pid
        for failure in failures:
            house.suffer(failure)
            target = len(house.publisher.acknowledged)
            seconds = within(lambda target=target: house.well(target), HEALED)  # type: ignore[misc]
            print(f"{failure.kind} {failure.seconds} s: {seconds}")
            if seconds is not None:
                took.append(seconds)
                continue
            not_healed[failure.kind] += 1
            house.gateway.stop()
            house.gateway.start()
        house.end()
        assert set(range(house.sent)) == house.publisher.acknowledged
        house.gateway.wait(lambda: house.well(house.sent) and not house.bridge()["pending"])
        stored = {int(v) for d in range(DEVICES) for v in house.influx.values(f"d{d}", "seq")}
        lost = set(range(house.sent)) - stored
        found = house.bridge()
        healed = len(took) / len(failures)
        took.sort()
        outcome(
            "healing", failures=len(failures), kinds=len({f.kind for f in failures}),
            healed_unaided=f"{healed:.1%}", not_healed=str(dict(not_healed)) if not_healed else "-",
            lost=len(lost), published=house.sent, recovery_mean_s=round(mean(took), 2),
            recovery_p95_s=round(took[int(len(took) * 0.95)], 2), recovery_max_s=round(took[-1], 2),
            errors_of_the_sink=str(found["failed"]), outages=found["troubles"]["outages"],
        )  # fmt: skip
        assert lost == set()
        assert found["dead_lettered"] == 0
        assert set(house.gateway.differences().values()) == {0}
        assert healed >= HEALTH
        if not not_healed:
            assert house.gateway.pid == pid
            assert found["troubles"]["outages"] == found["troubles"]["unaided"] > 0
            # What the test did to the sink was felt: each kind of error was met.
            assert {"unavailable", "throttled", "denied"} <= set(found["failed"])
