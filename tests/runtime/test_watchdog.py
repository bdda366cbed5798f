"""The watchdog is fed while the pipeline moves or rightly waits, and by nothing that hangs."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.bus.bus import Bus
from gateway.bus.gather import Entry
from gateway.bus.journal import Journal
from gateway.bus.kept import JournalOptions
from gateway.bus.records import Stamp
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Reading
from gateway.runtime.moving import _bridges
from gateway.runtime.notify import notify
from gateway.runtime.watchdog import Watchdog
from tests.support.faults import outcome, runs
from tests.support.gateway import Gateway
from tests.support.hang import hanging
from tests.support.influx import influx_1
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port
from tests.support.publisher import Publisher
from tests.support.service_manager import Manager, asked, service_manager

LIMIT = 2.0
"""The watchdog's time (s) in these tests."""
LONGER = 2 * LIMIT + 1
"""Within this the feeding of what hangs has stopped: it may hang for LIMIT, and was fed last
within LIMIT / 6 of that."""


@contextmanager
def watched(directory: Path, **config: Any) -> Iterator[tuple[Gateway, Manager]]:
    """A gateway under a service manager that has heard READY=1."""
    with service_manager(directory) as manager, asked(**manager.environment(LIMIT)):
        devices = [{"type": "mqtt"}]
        house = Gateway(
            directory / "gateway",
            **{"broker": {"port": free_port()}, "devices": devices, **config},
        )
        house.start()
        try:
            manager.listen(10, until=lambda: bool(manager.heard("READY=1")))
            assert manager.heard("READY=1")
            manager.listen(LIMIT, until=lambda: bool(manager.fed()))
            yield house, manager
        finally:
            house.kill()


def owing(bus: Bus, subscription: Subscription) -> Any:
    """As much of a house as is asked about a bridge."""
    return SimpleNamespace(bus=bus, deliveries={"sink": SimpleNamespace(subscription=subscription)})


def publish(house: Gateway, first: int = 0, count: int = 10, broker: int | None = None) -> None:
    """Messages that the broker acknowledges, whatever we do with them."""
    publisher = Publisher(broker or house.broker_port)
    publisher.run(first, count)
    publisher.close()


def keeps_being_fed(manager: Manager, seconds: float, case: str) -> None:
    """No pause that a service manager would not forgive."""
    began = time.monotonic()
    manager.listen(seconds)
    fed = [began, *(when for when in manager.fed() if when > began), time.monotonic()]
    longest = max(b - a for a, b in itertools.pairwise(fed))
    outcome(case, seconds=seconds, fed=len(fed) - 2, longest_pause=round(longest, 2), limit=LIMIT)
    assert longest < LIMIT, manager.said
    assert not manager.heard("STATUS=hanging")


def stops_being_fed(manager: Manager, case: str, named: str = "") -> None:
    """No food within the time it may take to notice, and it says why."""
    began = time.monotonic()
    manager.listen(LONGER)
    last = max((when - began for when in manager.fed()), default=0.0)
    outcome(case, stopped_after=round(max(last, 0.0), 2), limit=LIMIT)
    manager.listen(LIMIT)
    assert [when for when in manager.fed() if when > began + LONGER] == []
    if named:
        assert named in " ".join(manager.heard("STATUS=hanging"))


def test_fed_while_nothing_comes(tmp_path: Path) -> None:
    with watched(tmp_path) as (_, manager):
        keeps_being_fed(manager, runs(8, 30), "watchdog-idle")
        assert any("ready" in line for line in manager.heard("STATUS="))


def test_fed_while_the_sink_hangs_and_the_broker_is_away(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, influx_1(tmp_path / "influx") as influx:
        bridge = {
            "type": "influxdb", "name": "sink", "version": "1", "url": influx.url,
            "database": "test",
        }  # fmt: skip
        outside = {"embedded": False, "port": broker.port}
        with watched(tmp_path, broker=outside, bridges=[bridge]) as (house, manager):
            assert influx.process is not None
            influx.process.send_signal(signal.SIGSTOP)
            try:
                publish(house, count=2_000, broker=broker.port)
                house.wait(lambda: bool(house.api("bridges")[0]["pending"]))
                broker.stop()
                keeps_being_fed(manager, runs(10, 40), "watchdog-sink-hangs-broker-away")
                assert house.api("bridges")[0]["pending"]
            finally:
                influx.process.send_signal(signal.SIGCONT)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_fed_while_the_disk_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", disk], check=True)
    try:
        place = {"id": "test", "data_dir": str(disk)}
        journal = {"max_size": "8MB"}
        with watched(tmp_path, gateway=place, journal=journal) as (house, manager):
            publish(house)
            house.wait(lambda: house.api("status")["ledger"]["sources"]["mqtt"]["journalled"] >= 10)
            fill(disk / "full")
            # More than what is left of the segment that has its room already.
            publisher = Publisher(
                house.broker_port, make=lambda n: b'{"seq": %d, "x": "%s"}' % (n, noise())
            )
            publisher.run(10, 5_000)
            publisher.close()
            house.wait(lambda: bool(house.api("status")["journal"]["trouble"]))
            keeps_being_fed(manager, runs(8, 30), "watchdog-disk-full")
            assert house.api("status")["journal"]["trouble"]
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def noise() -> bytes:
    """400 characters that cannot be made fewer."""
    return os.urandom(200).hex().encode()


def fill(path: Path) -> None:
    """Take every block there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_a_journal_that_hangs_stops_the_feeding(tmp_path: Path) -> None:
    with watched(tmp_path) as (house, manager):
        segment = next((house.directory / "data/journal").glob("*.seg"), None)
        if segment is None:
            publish(house)
            house.wait(lambda: bool(list((house.directory / "data/journal").glob("*.seg"))))
        with hanging(house.pid, "fdatasync"):
            publish(house, 10)
            stops_being_fed(manager, "watchdog-journal-hangs", "journal")
        house.wait(lambda: "not got on" in house.log.read_text())


def test_dead_letters_that_hang_stop_the_feeding(tmp_path: Path) -> None:
    with watched(tmp_path) as (house, manager):
        publish(house)
        log = house.directory / "data/state.db-wal"
        house.wait(log.exists)
        with hanging(house.pid, "fdatasync", log):
            publisher = Publisher(house.broker_port, make=lambda _: b"{")
            publisher.run(0, 1)
            publisher.close()
            stops_being_fed(manager, "watchdog-state-hangs", "state")


def test_an_event_loop_that_hangs_stops_the_feeding(tmp_path: Path) -> None:
    with watched(tmp_path) as (house, manager):
        with hanging(house.pid, "epoll_wait", threads=False):
            stops_being_fed(manager, "watchdog-loop-hangs")
        began = time.monotonic()
        manager.listen(LIMIT, until=lambda: manager.fed()[-1] > began)
        assert manager.fed()[-1] > began  # and goes on with it


def test_a_stopped_process_is_not_fed(tmp_path: Path) -> None:
    with watched(tmp_path) as (house, manager):
        os.kill(house.pid, signal.SIGSTOP)
        stops_being_fed(manager, "watchdog-process-stopped")
        os.kill(house.pid, signal.SIGCONT)


async def test_a_lane_that_waits_for_what_is_there_hangs(tmp_path: Path) -> None:
    """Also while the bridge's other lane gets on. One that sends, or has nothing, does not."""
    journal = Journal(tmp_path, JournalOptions(gather=0.01), Stamp)
    bus = Bus(journal, journal.open())
    subscription = await bus.subscribe("sink", lanes=2)
    running = asyncio.create_task(bus.run())
    house = owing(bus, subscription)
    dog = Watchdog({"WATCHDOG_USEC": "300000"})
    dog.watch_owed(lambda: _bridges(house))
    first, second = subscription.lanes
    asks = asyncio.create_task(first.next_batch(10, 0.0))
    await asyncio.sleep(0.5)
    dog.look()
    assert not dog.hanging  # nothing there
    await first.lock.acquire()  # it will never get on
    for number in range(20):
        readings = [Reading(f"d{n}", number + 1, {"x": 1.0}) for n in range(8)]
        committed = asyncio.Event()
        bus.publish(Entry(readings, done=committed.set))
        await committed.wait()
        second.done(await second.next_batch(100, 0.0))
        dog.look()
        await asyncio.sleep(0.03)
    assert set(dog.hanging) == {"bridge sink/0"}
    first.lock.release()
    await asks
    dog.look()
    assert not dog.hanging
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await asyncio.to_thread(journal.stop)


def test_a_start_that_gets_on_asks_for_more_time(tmp_path: Path) -> None:
    """Reading a long journal again must not be taken for a start that hangs."""
    with watched(tmp_path) as (house, manager):
        publish(house, count=500)
        house.wait(lambda: house.api("status")["ledger"]["sources"]["mqtt"]["journalled"] == 500)
        house.kill()
        manager.listen(0.2)
        manager.said.clear()
        house.start()
        manager.listen(10, until=lambda: bool(manager.heard("READY=1")))
        before = [message for _, message in manager.said if "READY=1" not in message]
        assert any("EXTEND_TIMEOUT_USEC=" in message for message in before)
        assert any(".seg" in line for line in manager.heard("STATUS=starting"))
        assert any("again for history" in line for line in manager.heard("STATUS=starting"))


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
async def test_nobody_is_fed_who_did_not_ask(environ: dict[str, str]) -> None:
    """sd_watchdog_enabled(3)"""
    await asyncio.wait_for(Watchdog(environ).run(), 1)


def test_a_manager_that_does_not_listen_stops_nothing(tmp_path: Path) -> None:
    with service_manager(tmp_path) as manager, asked(**manager.environment(LIMIT)):
        began = time.monotonic()
        for _ in range(2_000):  # far more than its queue holds
            notify("WATCHDOG=1")
        assert time.monotonic() - began < 5
    with asked(NOTIFY_SOCKET=str(tmp_path / "nobody")):
        notify("READY=1")
