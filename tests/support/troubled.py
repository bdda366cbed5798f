"""A gateway whose disk is in trouble, under load, and what must be true of it then and later."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.mosquitto import Mosquitto
from tests.support.publisher import Publisher, payload

DEVICES = 5
RATE = 300


@contextmanager
def gateway_on(disk: Path, broker: Mosquitto, home: Path) -> Iterator[Gateway]:
    """A gateway with its data on `disk`."""
    house = Gateway(
        home,
        gateway={"id": "test", "data_dir": str(disk / "data")},
        broker={"embedded": False, "port": broker.port},
        devices=[{"type": "mqtt"}],
        journal={"gather": "200ms", "max_size": "8MB"},
    )
    house.start()
    try:
        yield house
    finally:
        if house.process is not None and house.process.poll() is None:
            house.stop()


class Load:
    """Messages, at an even rate, until it is stopped."""

    def __init__(self, port: int, make: Callable[[int], bytes] = payload) -> None:
        self._publisher = Publisher(port, DEVICES, make)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def _run(self) -> None:
        while not self._stop.is_set():
            self.sent = self._publisher.run(self.sent, RATE // 10, RATE)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._publisher.close()


def answers(house: Gateway, seconds: float) -> float:
    """Ask for that long; the longest that an answer took."""
    longest, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        assert house.get("/healthz").status_code == 200
        house.api("status")
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.1)
    return longest


def in_trouble(house: Gateway, why: str) -> None:
    """The disk's refusal is seen, and said in status and health."""
    house.wait(lambda: why in (house.api("status")["journal"]["trouble"] or ""), 15)
    house.wait(
        lambda: any(
            reason["component"] == "stage/journal" and why in reason["text"]
            for reason in house.api("status")["health"]["reasons"]
        ),
        15,
    )
    assert house.get("/readyz").status_code == 503


def resumed(house: Gateway) -> float:
    """Seconds until the journal takes data again."""
    began = time.monotonic()
    house.wait(lambda: house.api("status")["journal"]["trouble"] is None, 30)
    return time.monotonic() - began


def everything_arrived(house: Gateway, sent: int) -> None:
    """Every message once, in history, and the ledger explains them all."""
    house.wait(lambda: house.api("status")["journal"]["next"] > sent, 60)

    def stored() -> Counter[int]:
        return Counter(int(v) for d in range(DEVICES) for v in house.values(f"d{d}", "seq"))

    house.wait(lambda: len(stored()) >= sent, 30)
    found = stored()
    assert set(range(sent)) - set(found) == set()
    assert [number for number, times in found.items() if times > 1] == []
    assert set(house.differences().values()) == {0}
