"""The life of a command: in turn, once, never late, and known to the next run."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gateway.core.contracts import Command, Reply
from gateway.core.errors import Conflict, Rejected, Throttled, Unavailable
from gateway.io.sqlite.database import Database
from gateway.runtime import command_targets
from gateway.runtime.command_targets import Asked, target_of
from gateway.runtime.commanding import WAITING, Commanding
from gateway.store.commands import LOST, Commanded, Commands
from tests.support.commanding import at_work

MIGRATIONS = files("gateway.store") / "migrations" / "state"


class Relay:
    """Does what it is told once `go` is set."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.breaks = False

    async def execute(self, command: Command) -> Reply:
        self.begun.append(command.id)
        if self.breaks:
            raise RuntimeError("a bug")
        await self.go.wait()
        self.done.append(command.id)
        return Reply("ok")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "state.db", MIGRATIONS)
    yield found
    found.close()


class Standing:
    def __init__(self, database: Database, relay: Relay, synced: bool = True) -> None:
        self.told: list[tuple[str, str]] = []
        self.synced = synced
        target = target_of(relay, "Lamp")
        self.commanding = Commanding(
            Commands(database), lambda device: target, self._tell, lambda: self.synced
        )

    def _tell(self, command: Commanded) -> None:
        self.told.append((command.id, command.status))

    async def ask(self, identity: str, seconds: float = 0, **more: Any) -> Commanded:
        expires = time.time_ns() + int(seconds * 1e9) if seconds else 0
        asked = Asked("lamp", "on", {}, identity, expires, "http", **more)
        return (await self.commanding.ask(asked))[0]


@asynccontextmanager
async def standing(database: Database, relay: Relay) -> AsyncIterator[Standing]:
    found = Standing(database, relay)
    async with at_work(found.commanding):
        yield found


async def test_one_after_the_other_and_what_waited_too_long_is_not_done(
    database: Database,
) -> None:
    relay = Relay()
    relay.go.clear()
    async with standing(database, relay) as found:
        await found.ask("first")
        await found.ask("late", 0.2)
        await found.ask("last")
        await asyncio.sleep(0.3)
        assert relay.begun == ["first"]
        relay.go.set()
        assert (await found.commanding.wait("last", 5)).status == "ok"
        assert relay.done == ["first", "last"]
        assert [status for name, status in found.told if name == "late"] == ["accepted", "expired"]
        assert (await found.commanding.find("late")).status == "expired"
        assert found.commanding.counts == {"ok": 2, "expired": 1}


class Switchboard(Relay):
    """Orders its commands itself."""

    orders = True


async def test_a_driver_that_orders_them_itself_has_each_at_once(database: Database) -> None:
    relay = Switchboard()
    relay.go.clear()
    async with standing(database, relay) as found:
        for name in ("a", "b", "c"):
            await found.ask(name)
        await asyncio.sleep(0.05)
        assert relay.begun == ["a", "b", "c"]
        assert (await found.ask("b")).status == "executing"
        for number in range(3, WAITING):
            await found.ask(f"n{number}")
        with pytest.raises(Throttled):
            await found.ask("one-too-many")
        relay.go.set()
        assert (await found.commanding.wait("b", 5)).status == "ok"
        assert relay.begun.count("b") == 1
        relay.go.clear()
        await found.ask("left")
        await asyncio.sleep(0.05)
    assert found.told[-1] == ("left", "failed")
    async with standing(database, Relay()) as found:
        assert (await found.commanding.find("left")).error == LOST


async def test_a_driver_that_hangs_is_given_up_once_its_command_is_late(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_targets, "PATIENCE", 0.1)
    monkeypatch.setattr(command_targets, "_MOMENT", 0.2)
    relay = Switchboard()
    relay.go.clear()
    async with standing(database, relay) as found:
        began = time.monotonic()
        await found.ask("hangs", 1.0)
        failed = await found.commanding.wait("hangs", 5)
        assert "gave no answer" in failed.error
        assert time.monotonic() - began >= 1.1


async def test_the_clock_that_is_set_back_makes_nothing_young_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay()
    relay.go.clear()
    async with standing(database, relay) as found:
        await found.ask("first")
        await found.ask("late", 0.2)
        now = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: now() - 3_600 * 10**9)
        await asyncio.sleep(0.3)
        relay.go.set()
        assert (await found.commanding.wait("late", 5)).status == "expired"
        assert relay.done == ["first"]


async def test_while_the_clock_is_not_set_nobody_knows_what_is_late(database: Database) -> None:
    relay = Relay()
    async with standing(database, relay) as found:
        found.synced = False
        with pytest.raises(Conflict, match="clock is not set"):
            await found.ask("timed", 5)
        assert (await found.ask("plain")).status in ("accepted", "executing", "ok")
        await found.commanding.wait("plain", 5)
        assert relay.done == ["plain"]


async def test_the_next_run_knows_and_repeats_nothing(database: Database) -> None:
    relay = Relay()
    async with standing(database, relay) as found:
        await found.ask("done")
        await found.commanding.wait("done", 5)
        relay.go.clear()
        await found.ask("halfway")
        await found.ask("waiting")
        await asyncio.sleep(0.1)
        told = found.told
    assert told[-2:] == [("halfway", "failed"), ("waiting", "failed")]
    relay.go.set()
    async with standing(database, relay) as found:
        assert found.told == []
        for name, status in (("done", "ok"), ("halfway", "failed"), ("waiting", "failed")):
            again = await found.ask(name)
            assert again.status == status, name
        assert (await found.commanding.find("halfway")).error == LOST
        assert "before it was begun" in (await found.commanding.find("waiting")).error
        await asyncio.sleep(0.1)
        assert relay.begun == ["done", "halfway"]
        assert relay.done == ["done"]


async def test_what_a_killed_run_left_is_given_up_and_told(database: Database) -> None:
    relay = Relay()
    store = Commands(database)
    for name in ("a", "b"):
        await store.add(Commanded(name, "lamp", "on", {}, "http", time.time_ns()))
    async with standing(database, relay) as found:
        assert sorted(found.told) == [("a", "failed"), ("b", "failed")]
        assert (await found.ask("a")).error == LOST
        assert relay.begun == []


async def test_what_cannot_be_written_down_is_not_done(database: Database) -> None:
    relay = Relay()
    async with standing(database, relay) as found:
        await database.write(lambda c: c.execute("ALTER TABLE command RENAME TO away"))
        with pytest.raises(Unavailable):
            await found.commanding.ask(Asked("lamp", "on", {}))
        assert relay.begun == []
        await database.write(lambda c: c.execute("ALTER TABLE away RENAME TO command"))
        await found.ask("now")
        await found.commanding.wait("now", 5)
        assert relay.done == ["now"]


async def test_an_outcome_that_cannot_be_kept_yet_is_kept_later(database: Database) -> None:
    relay = Relay()
    relay.go.clear()
    async with standing(database, relay) as found:
        await found.ask("slow")
        await asyncio.sleep(0.1)
        await database.write(lambda c: c.execute("ALTER TABLE command RENAME TO away"))
        relay.go.set()
        assert (await found.commanding.wait("slow", 5)).status == "ok"  # whoever waits is told
        await database.write(lambda c: c.execute("ALTER TABLE away RENAME TO command"))
        await asyncio.sleep(1.5)
    async with standing(database, relay) as found:
        assert (await found.commanding.find("slow")).status == "ok"


async def test_a_driver_with_a_bug_fails_its_command_only(database: Database) -> None:
    relay = Relay()
    relay.breaks = True
    async with standing(database, relay) as found:
        await found.ask("bad")
        failed = await found.commanding.wait("bad", 5)
        assert (failed.status, failed.error) == ("failed", "the driver failed: a bug")
        relay.breaks = False
        await found.ask("good")
        assert (await found.commanding.wait("good", 5)).status == "ok"


async def test_too_many_are_sent_away_and_little_is_kept(database: Database) -> None:
    relay = Relay()
    relay.go.clear()
    async with standing(database, relay) as found:
        found.commanding.store.kept = 5
        for number in range(WAITING):
            await found.ask(f"n{number}")
        with pytest.raises(Throttled):
            await found.ask("one-too-many")
        relay.go.set()
        await found.commanding.wait(f"n{WAITING - 1}", 5)
        for number in range(5):
            await found.ask(f"m{number}")
        await found.commanding.wait("m4", 5)
        kept = await found.commanding.latest("lamp")
        assert [each.id for each in kept] == ["m4", "m3", "m2", "m1", "m0"]
        with pytest.raises(LookupError):
            await found.commanding.find("n0")


async def test_what_is_refused_for_what_it_is(database: Database) -> None:
    relay = Relay()
    async with standing(database, relay) as found:
        for asked in (
            Asked("lamp", "a/b", {}),
            Asked("lamp", "on", {"x": "y" * 20_000}),
            Asked("lamp", "on", {}, id="x" * 129),
            Asked("lamp", "on", {}, id="a\nb"),
            Asked("lamp", "on", {}, retained=True),
        ):
            with pytest.raises(Rejected):
                await found.commanding.ask(asked)
        assert relay.begun == []
        assert found.commanding.counts == {"rejected": 5}
