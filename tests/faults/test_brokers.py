"""Brokers that are damaged, that forget, that go deaf, and that are fought over."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from gateway.broker import BrokerOptions, EmbeddedBroker, Lan, Listener, accepts
from gateway.broker.files import set_aside
from gateway.core.events import Event, Failed
from gateway.core.topics import Topics
from tests.support.faults import outcome, runs, seeded
from tests.support.gateway import gateway
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


def publish(port: int, topic: str, payload: str, *more: str) -> None:
    command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", topic, "-m", payload, *more]
    subprocess.run(command, check=True, timeout=20)


def a_database(directory: Path) -> bytes:
    """One with a session, what is queued for it, and retained messages."""
    with mosquitto(directory) as broker:
        port = str(broker.port)
        subscribe = ["mosquitto_sub", "-p", port, "-i", "gw", "-c", "-q", "1", "-t", "#", "-E"]
        subprocess.run(subscribe, check=True, timeout=20)
        for number in range(20):
            publish(broker.port, f"devices/d{number}/telemetry", "21.5", "-r")
    return (directory / "mosquitto.db").read_bytes()


def damaged(good: bytes, chance: Random) -> bytes:
    """A database after a power cut, or on a card that dies."""
    where = chance.randrange(1, len(good))
    kind = chance.choice(["cut", "flip", "flip", "zeros", "noise", "doubled"])
    if kind == "cut":
        return good[:where]
    if kind == "doubled":
        return good[:where] + good
    end = min(where + chance.randrange(1, 200), len(good))
    if kind == "flip":
        end = where + 1
        middle = bytes([good[where] ^ 1 << chance.randrange(8)])
    else:
        middle = bytes(end - where) if kind == "zeros" else chance.randbytes(end - where)
    return good[:where] + middle + good[end:]


async def test_a_damaged_database_keeps_no_broker_from_starting(tmp_path: Path) -> None:
    chance, rounds = seeded(), runs(15, 500)
    good = a_database(tmp_path / "good")
    options = BrokerOptions(port=free_port())
    set_aside, longest = 0, 0.0
    for number in range(rounds):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "mosquitto.db").write_bytes(damaged(good, chance))
        events: list[Event] = []
        broker = EmbeddedBroker(directory, options, events.append)
        began = time.monotonic()
        async with broker.running():
            longest = max(longest, time.monotonic() - began)
            await asyncio.to_thread(publish, options.port, "devices/a/telemetry", "1")
            kept = list(directory.glob("mosquitto.db.damaged-*"))
            assert [path.name for path in kept] == broker.set_aside
            failed = [event for event in events if isinstance(event, Failed)]
            assert len(failed) == len(kept)
            set_aside += len(kept)
    assert set_aside
    outcome(
        "damaged-broker-database",
        started=rounds, set_aside=set_aside, longest_start_s=round(longest, 2),
    )  # fmt: skip


async def test_what_is_no_file_is_in_nobodys_way(tmp_path: Path) -> None:
    lan = Lan(tmp_path, Topics("berrygate", "gw"), [Listener("127.0.0.1", free_port(), True)])
    names = ("mosquitto.db", "mosquitto.db.new", "mosquitto.conf", "mosquitto.pid", "users",
             "listeners.json", "ca.crt", "ca.key", "server.crt", "server.key")  # fmt: skip
    for name in names:
        (tmp_path / name / "full").mkdir(parents=True)
    broker = EmbeddedBroker(tmp_path, BrokerOptions(port=free_port()), lambda _: None, lan)
    async with broker.running():
        assert await accepts(broker.endpoint)
        assert [each["trouble"] for each in broker.listeners] == [None]
        lan.accounts.add("scale")
    assert (tmp_path / "mosquitto.db").is_file()
    aside = {path.name.partition(".damaged-")[0] for path in tmp_path.glob("*.damaged-*")}
    assert aside == set(names)


@pytest.mark.parametrize("content", [b"", b"12", b"\xff\xfe", b"999999999 1.0", b"-1 -1", b"x y"])
async def test_a_pid_file_that_says_nothing_ends_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mosquitto.pid").write_bytes(content)
    (tmp_path / "mosquitto.conf").write_bytes(b"\xff\x00 damaged")
    broker = EmbeddedBroker(tmp_path, BrokerOptions(port=free_port()), lambda _: None)
    async with broker.running():
        assert await accepts(broker.endpoint)


async def test_a_database_that_is_damaged_while_we_run_costs_itself_only(tmp_path: Path) -> None:
    """The supervisor's restart meets it, not our start."""
    broker = EmbeddedBroker(tmp_path, BrokerOptions(port=free_port()), lambda _: None)
    async with broker.running():
        first = broker.pid
        assert first is not None
        (tmp_path / "mosquitto.db").write_bytes(b"noise" * 100)
        os.kill(first, signal.SIGKILL)
        await until(lambda: broker.pid not in (None, first) and not broker.trouble)
        assert await accepts(broker.endpoint)
        assert len(broker.set_aside) == 1


def test_two_files_set_aside_in_one_second_are_both_kept(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "x").write_text(content)
        set_aside(tmp_path / "x", "is damaged", "nothing")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["one", "two"]


async def test_a_database_that_crashes_it_again_and_again_is_blamed(tmp_path: Path) -> None:
    """Damage that is not seen at the start, but once a client comes."""
    broker = EmbeddedBroker(tmp_path, BrokerOptions(port=free_port()), lambda _: None)
    async with broker.running():
        (tmp_path / "mosquitto.db").write_bytes(a_database(tmp_path / "good"))
        for number in range(3):
            await until(lambda: broker.pid is not None and not broker.trouble)
            assert broker.set_aside == [], number
            assert broker.pid is not None
            before = broker.restarts
            os.kill(broker.pid, signal.SIGSEGV)
            await until(lambda before=before: broker.restarts > before)
        await until(lambda: broker.pid is not None and not broker.trouble)
        assert len(broker.set_aside) == 1
        assert await accepts(broker.endpoint)


def test_a_gateway_with_a_damaged_broker_database_works_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "data/broker").mkdir(parents=True)
    (tmp_path / "data/broker/mosquitto.db").write_bytes(b"noise" * 1_000)
    with gateway(tmp_path, broker={"port": port}, devices=[{"type": "mqtt"}]) as house:
        publish(port, "devices/a/telemetry", "1")
        house.wait(lambda: house.values("a", "value") == [1.0])
        assert len(house.api("status")["broker"]["set_aside"]) == 1
    assert "Given up: sessions, retained messages" in house.log.read_text()


def test_a_killed_broker_holds_devices_back_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    rounds = runs(3, 20)
    longest = 0.0
    with gateway(tmp_path, broker={"port": port}, devices=[{"type": "mqtt"}]) as house:
        for number in range(rounds):
            pid = house.api("status")["broker"]["pid"]
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            house.wait(lambda pid=pid: house.api("status")["broker"]["pid"] not in (None, pid))
            longest = max(longest, time.monotonic() - began)
            house.wait(lambda: house.get("/readyz").status_code == 200)
            house.wait(lambda: house.api("status")["sources"][0]["state"] == "running")
            publish(port, "devices/a/telemetry", str(number))
        want = [float(number) for number in range(rounds)]
        house.wait(lambda: house.values("a", "value") == want)
        house.wait(lambda: house.api("status")["broker"]["connected"])
        assert house.api("status")["broker"]["restarts"] == rounds
        assert set(house.differences().values()) == {0}
    outcome("killed-embedded-broker", kills=rounds, longest_down_s=round(longest, 2))


def test_what_the_broker_throws_away_is_counted_and_told(tmp_path: Path) -> None:
    """Its queue for a client that is away is full: no source ever received that."""
    port, count, queue = free_port(), runs(120, 2_000), 20
    with gateway(
        tmp_path, broker={"port": port, "queue": queue}, devices=[{"type": "mqtt"}]
    ) as house:
        house.wait(lambda: house.api("status")["broker"]["dropped"] == 0)
        away = [
            "mosquitto_sub",
            "-p",
            str(port),
            "-i",
            "away",
            "-c",
            "-q",
            "1",
            "-t",
            "other",
            "-E",
        ]
        subprocess.run(away, check=True, timeout=20)
        lines = "".join(f"{number}\n" for number in range(count))
        publisher = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", "other", "-l"]
        subprocess.run(publisher, input=lines, text=True, check=True, timeout=60)
        house.wait(lambda: (house.api("status")["broker"]["dropped"] or 0) >= count - queue)
        dropped = house.api("status")["broker"]["dropped"]
        assert dropped == count - queue
        assert f"berrygate_broker_dropped_total {float(dropped)}" in house.get("/metrics").text
        house.wait(lambda: "queue is full" in house.get("/api/v1/health").text)
        os.kill(house.api("status")["broker"]["pid"], signal.SIGKILL)  # it counts from 0 again
        house.wait(lambda: house.api("status")["broker"]["restarts"] == 1)
        house.wait(lambda: house.api("status")["broker"]["connected"])
        assert house.api("status")["broker"]["dropped"] >= dropped
        assert set(house.differences().values()) == {0}
    assert "the broker threw" in house.log.read_text()
    outcome("dropped-by-the-broker", published=count, queue=queue, counted=dropped)
