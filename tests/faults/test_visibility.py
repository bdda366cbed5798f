"""Whoever sees nothing but the health topics knows how everything is, also while things fail.

Bridge, broker, disk and the gateway's own loop fail one after the other; `mosquitto_sub` alone
looks on, through it all. A component is visible in a second if the last that was told of it is no
older than 30 s and says something else than UNKNOWN.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import Filler, needs_root, small_disk
from tests.support.faults import FULL, outcome, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.ports import free_port

FRESH = 30.0
SLACK = 0.5  # how late a message may be seen on a machine that is busy (s)
ROUNDS = 5 if FULL else 1
DEVICES = 20


class Onlooker:
    """`mosquitto_sub` on the health topics. seen: (when, level, score, reasons) by component."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, list[tuple[float, str, dict[str, Any]]]] = {}
        self.ratios: list[float] = []
        self._process = subprocess.Popen(
            ["mosquitto_sub", "-p", str(port), "-q", "1", "-F", "%t %p",
             "-t", "berrygate/+/health/#"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            topic, _, payload = line.partition(" ")
            told = json.loads(payload)
            path = topic.split("/", 3)[3]
            if path == "gateway/summary":
                self.ratios.append(told["visibility"])
            self.seen.setdefault(path, []).append((time.monotonic(), told["level"], told))

    def level(self, component: str) -> str:
        """What was told last."""
        found = self.seen.get(component)
        return found[-1][1] if found else ""

    def visible(self, begin: float, end: float) -> tuple[int, int, dict[str, int]]:
        """Component-seconds, those in which the component was visible, and what was missing."""
        missing: dict[str, int] = {}
        total = 0
        for component, told in self.seen.items():
            for second in range(int(end - begin)):
                moment = begin + second
                before = [each for each in told if each[0] <= moment]
                fresh = before and moment - before[-1][0] <= FRESH + SLACK
                total += 1
                if not fresh or before[-1][1] == "UNKNOWN":
                    missing[component] = missing.get(component, 0) + 1
        return total, total - sum(missing.values()), missing

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()


@contextmanager
def onlooker(port: int) -> Iterator[Onlooker]:
    found = Onlooker(port)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def talking(port: int) -> Iterator[None]:
    """Devices that send now and then, through a broker that may be gone for a moment."""
    over = threading.Event()

    def talk() -> None:
        while not over.wait(1.0):
            for number in range(DEVICES):
                topic = f"devices/d{number}/telemetry"
                command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", topic, "-m", "1"]
                subprocess.run(command, check=False, capture_output=True, timeout=20)
                if over.wait(0.1):
                    return

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def said(house: Gateway, looking: Onlooker, component: str, *levels: str) -> float:
    """Wait until the topic of a component says one of these levels; how long it took (s)."""
    began = time.monotonic()
    house.wait(lambda: looking.level(component) in levels, 30)
    return time.monotonic() - began


BAD = ("WARNING", "CRITICAL", "FAILED")
WELL = ("EXCELLENT", "GOOD")


@needs_root
@pytest.mark.timeout(400 if FULL else 110)
def test_whoever_has_only_the_topics_sees_it_all(tmp_path: Path) -> None:
    chance, port = seeded(), free_port()
    with (
        small_disk(tmp_path / "disk", 64) as disk,
        mosquitto(tmp_path / "cloud") as cloud,
        gateway(
            tmp_path,
            gateway={"id": "test", "data_dir": str(disk / "data")},
            broker={"port": port},
            journal={"max_size": "16MB", "gather": "200ms"},
            health={"limits": {"availability": {"warning": "2s", "critical": "20s"}},
                    "level": {"better": "1s"}},
            bridges=[{"type": "mqtt", "name": "cloud", "url": f"mqtt://127.0.0.1:{cloud.port}",
                      "timeout": "1s", "retry": {"max": "1s", "breaker": {"reset": "500ms"}}}],
        ) as house,
        talking(port),
        onlooker(port) as looking,
    ):  # fmt: skip
        # Those that talk, and this machine: one that is met later was not there to be seen.
        house.wait(lambda: sum(c.startswith("device/") for c in looking.seen) == DEVICES + 1)
        house.wait(lambda: all(looking.level(c) != "UNKNOWN" for c in looking.seen))
        begin = time.monotonic()
        for _ in range(ROUNDS):
            faults = ["bridge", "broker", "disk", "loop"]
            chance.shuffle(faults)
            for fault in faults:
                time.sleep(chance.uniform(0.5, 2))
                TROUBLE[fault](house, looking, cloud, disk)
        time.sleep(2)
        end = time.monotonic()
        total, visible, missing = looking.visible(begin, end)
        ratio = house.api("status")["health"]["visibility"]
        was = house.api("health/history", part="bridge/cloud", start="-10m")["points"]
    outcome(
        "visibility", seconds=round(end - begin), component_seconds=total, visible=visible,
        percent=round(100 * visible / total, 3), own_percent=round(100 * ratio, 3),
    )  # fmt: skip
    assert visible >= 0.999 * total, missing
    assert ratio >= 0.99
    # And it is remembered: well, bad with its reason, well again.
    levels = [level for _, _, level, _ in was]
    assert levels[0] in WELL
    assert set(levels) & set(BAD)
    assert levels[-1] in WELL
    assert all(why for _, _, level, why in was if level in BAD)


def _bridge(house: Gateway, looking: Onlooker, cloud: Mosquitto, disk: Path) -> None:
    cloud.kill()
    said(house, looking, "bridge/cloud", *BAD)
    assert looking.seen["bridge/cloud"][-1][2]["reasons"][0]["text"]

    def done() -> list[str]:
        """What is done about it."""
        reasons = looking.seen["bridge/cloud"][-1][2]["reasons"]
        return [each["doing"] for each in reasons if "doing" in each]

    house.wait(lambda: any("tries again by itself" in each for each in done()), 30)
    cloud.start()
    said(house, looking, "bridge/cloud", *WELL)


def _broker(house: Gateway, looking: Onlooker, cloud: Mosquitto, disk: Path) -> None:
    count = len(looking.seen["gateway/summary"])
    os.kill(house.api("status")["broker"]["pid"], signal.SIGKILL)
    house.wait(lambda: len(looking.seen["gateway/summary"]) > count, 30)


def _disk(house: Gateway, looking: Onlooker, cloud: Mosquitto, disk: Path) -> None:
    filler = Filler(disk)
    try:
        said(house, looking, "stage/machine", *BAD)
    finally:
        filler.end()
    said(house, looking, "stage/machine", *WELL)


def _loop(house: Gateway, looking: Onlooker, cloud: Mosquitto, disk: Path) -> None:
    os.kill(house.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(house.pid, signal.SIGCONT)


TROUBLE = {"bridge": _bridge, "broker": _broker, "disk": _disk, "loop": _loop}
