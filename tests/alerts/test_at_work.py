"""Decided, stored, sent: with a database and a webhook that are really there."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.alerts.alerts import Alerts
from gateway.alerts.channels import AppriseChannel
from gateway.alerts.outbox import Lane
from gateway.alerts.wording import Notification
from gateway.bus.bus import Bus
from gateway.config.alerting import AlertsSettings, ChannelSettings
from gateway.core.figures import Figure
from gateway.core.topics import Topics
from gateway.io.blocking import Blocking
from gateway.io.sqlite.database import Database
from gateway.stages.health import Health
from gateway.store.devices import Devices
from tests.support.receiver import Receiver, receiver

RULE = {"name": "full", "figure": "disk", "of": "*", "above": 90, "clear_for": "0s"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    yield found
    found.close()


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "hook") as found:
        yield found


class Topic:
    """What is retained on MQTT."""

    def __init__(self) -> None:
        self.retained: dict[str, Any] = {}

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        assert (qos, retain) == (1, True)
        self.retained[topic] = payload

    def clear(self, topic: str) -> None:
        self.retained.pop(topic, None)


class House:
    """As much of one as alerts on figures need."""

    def __init__(self, database: Database, hook: Receiver, **settings: Any) -> None:
        self.disk = 50.0
        self.topic = Topic()
        channel = {"name": "hook", "url": hook.url, "allow_private": True, **settings}
        whole = {"defaults": False, "rules": [RULE], "channels": [channel]}
        self.alerts = Alerts(
            AlertsSettings.model_validate(whole), Topics("berrygate", "gw"), database,
            Devices(database), Health(), self._figures, lambda: self.topic,
        )  # fmt: skip

    def _figures(self) -> dict[str, dict[str, Figure]]:
        return {"stage/machine": {"disk": Figure(self.disk)}}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["House"]:
        # No rule looks at readings, so nobody asks for a bus.
        task = asyncio.create_task(self.alerts.run(cast(Bus, None)))
        yield self
        task.cancel()
        await asyncio.wait([task])


async def came(hook: Receiver, count: int) -> list[dict[str, Any]]:
    return await asyncio.to_thread(hook.wait, count)


async def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_an_alert_goes_out_although_the_disk_refuses(
    database: Database, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(job: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with House(database, hook).running() as house:
        monkeypatch.setattr(database, "write", refuse)
        house.disk = 100.0
        (message,) = await came(hook, 1)
        assert "full stage/machine" in message["title"]
        assert house.alerts.trouble == "database or disk is full"
        assert list(house.topic.retained) == ["berrygate/gw/alert/stage-machine/full"]
        monkeypatch.undo()
        await until(lambda: not house.alerts.trouble)
    rows = database.read_now(lambda c: c.execute("SELECT rule, state FROM alert").fetchall())
    assert rows == [("full", "firing")]


async def test_a_restart_tells_nothing_twice_and_clears_what_is_over(
    database: Database, hook: Receiver
) -> None:
    async with House(database, hook).running() as house:
        house.disk = 100.0
        await came(hook, 1)
        await until(lambda: not house.alerts.channels()[0]["waiting"])
        number = house.alerts.alerts()[0]["id"]
        await house.alerts.acknowledge(number, "ann")
    left = database.read_now(lambda c: c.execute("SELECT count(*) FROM notification").fetchall())
    assert left == [(0,)]
    async with House(database, hook).running() as again:
        again.disk = 100.0
        await asyncio.sleep(4)
        (alert,) = again.alerts.alerts()
        assert (alert["id"], alert["acknowledged_by"], alert["count"]) == (number, "ann", 1)
        assert len(again.topic.retained) == 1
        assert len(hook.received) == 1
        again.disk = 10.0
        assert [each["type"] for each in await came(hook, 2)] == ["warning", "success"]
        assert again.topic.retained == {}


async def test_a_new_database_is_filled_again(database: Database, hook: Receiver) -> None:
    def count() -> int:
        found = database.read_now(lambda c: c.execute("SELECT count(*) FROM alert").fetchone())
        return int(found[0])

    async with House(database, hook).running() as house:
        house.disk = 100.0
        await until(lambda: count() == 1)
        database.path.unlink()  # and the next write notices
        house.alerts._engine.dirty.update(house.alerts._engine.all())
        await until(lambda: database.generation == 1)
        await until(lambda: count() == 1)


def message(number: int) -> Notification:
    return Notification(
        "hook", "firing", "warning", f"gw: {number}", f"body {number}", 1, time.time_ns(), number
    )


@asynccontextmanager
async def lane(hook: Receiver, **settings: Any) -> AsyncIterator[tuple[Lane, list[int]]]:
    whole = ChannelSettings.model_validate(
        {"name": "hook", "url": hook.url, "allow_private": True, **settings}
    )
    forgotten: list[int] = []

    async def forget(numbers: Any) -> None:
        forgotten.extend(numbers)

    found = Lane(AppriseChannel(whole, Blocking("test")), whole, forget)
    task = asyncio.create_task(found.run())
    yield found, forgotten
    task.cancel()
    await asyncio.wait([task])


async def test_over_the_rate_they_go_out_together(hook: Receiver) -> None:
    async with lane(hook, rate=3_600, burst=1) as (found, forgotten):
        found.put(message(1))
        await came(hook, 1)
        for number in range(2, 7):
            found.put(message(number))
        first, second = await came(hook, 2)
        assert first["title"] == "gw: 1"
        assert second["title"] == "gw: 5 messages, warning"
        assert all(f"body {number}" in second["message"] for number in range(2, 7))
        await until(lambda: sorted(forgotten) == [1, 2, 3, 4, 5, 6])
        assert found.as_dict()["sent"] == 2


async def test_it_is_tried_again_and_given_up_in_the_end(hook: Receiver) -> None:
    hook.refuse()
    async with lane(hook, give_up="3s") as (found, forgotten):
        found.put(message(1))
        await until(lambda: found.as_dict()["state"] == "failing")
        assert "503" in found.as_dict()["last_error"]
        await until(lambda: found.given_up == 1)
        assert forgotten == [1]
        assert found.failed >= 2
        hook.refuse(False)
        found.put(message(2))
        await came(hook, 1)
        assert found.as_dict() | {"service": ""} == {
            "name": "hook", "service": "", "state": "ok", "last_error": None, "waiting": 0,
            "sent": 1, "failed": found.failed, "given_up": 1,
        }  # fmt: skip


async def test_what_waits_for_the_network_outlasts_that_the_clock_is_set(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Pi that has no clock of its own: an alert, later the network, and with it the time."""
    hook.refuse()
    async with lane(hook) as (found, forgotten):
        found.put(message(1))
        await until(lambda: found.failed >= 1)
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + 90 * 86_400 * 10**9)
        await until(lambda: found.failed >= 2)
        hook.refuse(False)
        (told,) = await came(hook, 1)
        assert (told["title"], found.given_up) == ("gw: 1", 0)
        await until(lambda: forgotten == [1])


async def test_what_an_earlier_run_has_left_is_tried_before_it_is_given_up(hook: Receiver) -> None:
    old = message(1)
    old.created -= 90 * 86_400 * 10**9
    async with lane(hook) as (found, forgotten):
        found.put(old)
        await came(hook, 1)
        assert found.given_up == 0
    hook.refuse()
    async with lane(hook) as (found, forgotten):
        found.put(old)
        await until(lambda: found.given_up == 1)
        assert (forgotten, found.failed) == ([1], 1)


async def test_one_that_does_not_answer_holds_up_nobody(hook: Receiver) -> None:
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with lane(hook, url=f"json://127.0.0.1:{port}", timeout="500ms") as (found, _):
        found.put(message(1))
        await until(lambda: "no answer within 0.5 s" in found.trouble)
    server.close()


async def test_one_that_is_slow_is_waited_for_and_told_once(hook: Receiver) -> None:
    """Apprise gives up after 4 s by itself: what was taken would be sent again and again."""
    async with lane(hook, url=f"{hook.url}slow/5", timeout="15s") as (found, forgotten):
        found.put(message(1))
        await came(hook, 1)
        await until(lambda: forgotten == [1])
        assert (found.failed, len(hook.received)) == (0, 1)


async def test_a_disk_that_hangs_holds_up_nothing(
    database: Database, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(job: Any) -> None:
        await asyncio.sleep(60)

    async with House(database, hook).running() as house:
        monkeypatch.setattr(database, "write", hang)
        house.disk = 100.0
        await came(hook, 1)
        house.disk = 50.0
        assert [each["type"] for each in await came(hook, 2)] == ["warning", "success"]
        assert house.alerts.trouble == "the disk is slow"
        monkeypatch.undo()
