"""What was journalled while nobody looked is looked at after a start: a cursor over the bus."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts import looking as looking_module
from gateway.alerts.alerts import Alerts
from gateway.bus.bus import Bus
from gateway.bus.gather import Entry
from gateway.config.alerting import AlertsSettings
from gateway.core.contracts import Reading
from gateway.core.topics import Topics
from gateway.io.sqlite.database import Database
from gateway.stages.health import Health
from gateway.store.devices import Devices
from tests.support.journal import open_bus, publish, running

OPEN = {"name": "open", "device": "door-*", "metric": "open", "equals": True, "clear_for": "0s"}


class Nowhere:
    """No topics."""

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        """To nobody."""

    def clear(self, topic: str) -> None:
        """Nothing."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    yield found
    found.close()


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path / "journal") as found, running(found):
        yield found


@asynccontextmanager
async def watching(
    bus: Bus, database: Database, *rules: Any, killed: bool = False
) -> AsyncIterator[Alerts]:
    """Alerts at work. killed: nothing is stored at their end."""
    settings = AlertsSettings.model_validate({"defaults": False, "rules": rules or [OPEN]})
    found = Alerts(
        settings, Topics("berrygate", "gw"), database, Devices(database), Health(), dict, Nowhere
    )
    task = asyncio.create_task(found.run(bus))
    await until(lambda: found._looking._live is not None or not found._readings.rules)
    try:
        yield found
    finally:
        if killed:
            found._save = lambda *args, **more: asyncio.sleep(0)  # type: ignore[method-assign]
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def say(bus: Bus, device: str, *values: bool, told: bool = True) -> None:
    """Readings that are journalled; told: also to those who look."""
    for value in values:
        reading = Reading(device, time.time_ns(), {"open": value})
        if told:
            bus.emit([reading])
        await publish(bus, [reading])


def sources(alerts: Alerts, state: str = "active") -> list[tuple[str, int]]:
    return [(each["source"], each["count"]) for each in alerts.alerts(state)]


async def stored(database: Database) -> int | None:
    row = database.read_now(lambda c: c.execute("SELECT sequence FROM alerts_seen").fetchone())
    return None if row is None else int(row[0])


async def test_what_was_journalled_while_nobody_looked(bus: Bus, database: Database) -> None:
    await say(bus, "door-0", True, told=False)  # before the first start: nobody had asked
    async with watching(bus, database) as first:
        await say(bus, "door-1", True, False)
        await until(lambda: first.alerts("resolved"))
        assert sources(first) == []
    assert await stored(database) == bus.head
    await say(bus, "door-2", True, told=False)
    await say(bus, "door-3", True, False, told=False)  # over already
    async with watching(bus, database) as second:
        assert sources(second) == [("door-2", 1)]
        assert ("door-1", 1) in sources(second, "resolved")  # not once more
        await say(bus, "door-4", True)
        await until(lambda: len(sources(second)) == 2)


async def test_a_kill_before_it_was_stored_costs_nothing(bus: Bus, database: Database) -> None:
    async with watching(bus, database):
        await say(bus, "door-1", False)
    async with watching(bus, database, killed=True) as first:
        first._save = lambda *args, **more: asyncio.sleep(0)  # type: ignore[method-assign]
        await say(bus, "door-1", True)
        await until(lambda: sources(first) == [("door-1", 1)])
    rows = database.read_now(lambda c: c.execute("SELECT count(*) FROM alert").fetchone())
    assert rows == (0,)
    async with watching(bus, database) as second:
        assert sources(second) == [("door-1", 1)]


async def test_what_is_on_its_way_to_the_journal_at_a_start_is_not_missed(
    bus: Bus, database: Database
) -> None:
    """Sources begin before alerts do."""
    async with watching(bus, database):
        await say(bus, "door-1", False)
    reading = Reading("door-1", time.time_ns(), {"open": True})
    bus.emit([reading])
    bus.publish(Entry([reading], size=50, gather=5.0))
    async with watching(bus, database) as second:
        assert sources(second) == [("door-1", 1)]


async def test_the_cursor_is_stored_now_and_then(
    bus: Bus, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking_module, "_FAR", 50)
    async with watching(bus, database, killed=True) as first:
        await until(lambda: first._looking.stored is not None)  # the first time at once
        before = first._looking.stored
        assert before is not None
        await say(bus, "door-1", *[False] * 20)
        await until(lambda: first._looking.seen == bus.head)
        assert await stored(database) == before  # not worth a write
        await say(bus, "door-1", *[False] * 80)
        await until(lambda: (first._looking.stored or 0) > before + 50)
    found = await stored(database)
    assert found is not None
    assert found > before + 50


async def test_where_no_rule_looks_at_readings_it_is_forgotten(
    bus: Bus, database: Database
) -> None:
    async with watching(bus, database):
        await say(bus, "door-1", False)
    health = {"name": "bad", "health": "*", "level": "CRITICAL"}
    async with watching(bus, database, health):
        await say(bus, "door-1", True)
        await asyncio.sleep(0.2)
    assert await stored(database) is None
    async with watching(bus, database) as again:
        assert sources(again) == []  # a rule that is new does not look back


async def test_not_more_than_what_says_something_of_now(
    bus: Bus, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking_module, "_MOST", 10)
    async with watching(bus, database):
        await say(bus, "door-1", False)
    await say(bus, "door-1", True, told=False)
    await say(bus, "door-2", True, *[True] * 10, told=False)
    async with watching(bus, database) as second:
        assert sources(second) == [("door-2", 1)]


async def test_a_journal_that_is_new_is_looked_at_from_here(bus: Bus, database: Database) -> None:
    async with watching(bus, database):
        await say(bus, "door-1", False)
    await database.write(lambda c: c.execute("UPDATE alerts_seen SET sequence = 1000000"))
    async with watching(bus, database) as second:
        await say(bus, "door-1", True)
        await until(lambda: sources(second) == [("door-1", 1)])
    assert await stored(database) == bus.head
