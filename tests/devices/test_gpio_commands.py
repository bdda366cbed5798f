"""Outputs told what to do as the gateway does it: what waits for its dwell, and what does not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gateway.io.gpio import output as output
from gateway.io.sqlite.database import Database
from gateway.runtime import command_targets
from gateway.runtime.command_targets import Asked, target_of
from gateway.runtime.commanding import WAITING, Commanding
from gateway.store.commands import Commanded, Commands
from tests.devices.test_gpio import Bench, working
from tests.support.commanding import at_work

PINS: dict[str, Any] = {
    "pump": {"kind": "relay", "pin": 23, "initial": "on", "dwell": "1m"},
    "lamp": {"kind": "led", "pin": 22},
}


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    output._held.clear()


class Told:
    """Tells a device what to do, as HTTP does."""

    def __init__(self, found: Bench, database: Database) -> None:
        self.bench = found
        target = target_of(found.device, "board")
        self.commanding = Commanding(
            Commands(database), lambda device: target, lambda command: None
        )

    async def ask(self, identity: str, name: str, value: Any, seconds: float = 300) -> Commanded:
        expires = time.time_ns() + int(seconds * 1e9)
        asked = Asked("board", name, {"value": value}, identity, expires)
        return (await self.commanding.ask(asked))[0]

    async def waits(self, identity: str) -> None:
        """Until it waits in the device, and the dwell is all that it waits for."""
        async with asyncio.timeout(30):
            while (await self.commanding.find(identity)).status != "executing":
                await asyncio.sleep(0.005)

    async def end(self, identity: str) -> Commanded:
        found = await self.commanding.wait(identity, 30)
        assert found.ended, found
        return found


@asynccontextmanager
async def told(directory: Path, pins: dict[str, Any]) -> AsyncIterator[Told]:
    database = Database(directory / "state.db", files("gateway.store") / "migrations" / "state")
    async with working(Bench(directory, pins)) as bench:
        found = Told(bench, database)
        async with at_work(found.commanding):
            yield found
    database.close()


async def test_one_that_waits_holds_no_other_pin_up_and_gives_way(tmp_path: Path) -> None:
    async with told(tmp_path, PINS) as found:
        await found.ask("off", "pump", False)
        await found.ask("light", "lamp", True)
        assert (await found.end("light")).status == "ok"
        assert found.bench.pin(22).state == 1
        await found.waits("off")
        # It is on: nothing is left to be done, and the compressor is not cycled.
        await found.ask("on", "pump", True)
        assert (await found.end("on")).status == "ok"
        ended = await found.end("off")
        assert (ended.status, "newer" in ended.error) == ("failed", True)
        assert found.bench.values("pump") == [True]


async def test_what_is_not_done_itself_takes_the_place_of_nothing(tmp_path: Path) -> None:
    async with told(tmp_path, PINS) as found:
        await found.ask("off", "pump", False)
        await found.ask("hasty", "pump", False, 5)
        ended = await found.end("hasty")
        assert (ended.status, "expires before" in ended.error) == ("expired", True)
        await found.waits("off")


async def test_one_waits_as_long_as_it_is_good_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_targets, "PATIENCE", 0.2)
    pins = {"pump": {"kind": "relay", "pin": 23, "initial": "on", "dwell": "1s"}}
    async with told(tmp_path, pins) as found:
        await found.ask("off", "pump", False)
        assert (await found.end("off")).status == "ok"
        assert found.bench.pin(23).state == 0


async def test_newer_ones_leave_no_queue_behind(tmp_path: Path) -> None:
    async with told(tmp_path, PINS) as found:
        for number in range(2 * WAITING):
            await found.ask(f"n{number}", "pump", False)
        for number in range(2 * WAITING - 1):
            assert (await found.end(f"n{number}")).status == "failed"
        await found.waits(f"n{2 * WAITING - 1}")


async def test_what_waits_when_the_gateway_stops_is_given_up(tmp_path: Path) -> None:
    async with told(tmp_path, PINS) as found:
        await found.ask("off", "pump", False)
        await found.waits("off")
    database = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    try:
        kept = await Commands(database).find("off")
        assert kept is not None
        assert (kept.status, found.bench.pin(23).state) == ("failed", 1)
    finally:
        database.close()


async def test_a_newer_one_that_comes_in_the_very_moment_counts(tmp_path: Path) -> None:
    """Its time has come, it is about to go on, and the newer one is begun before it does."""
    async with working(Bench(tmp_path, PINS)) as bench:
        pump = bench.device._parts["pump"]
        assert isinstance(pump, output.Output)
        waiting = asyncio.create_task(pump._wait(60))
        await asyncio.sleep(0)
        assert pump._turn is not None
        pump._turn.set_result(True)
        pump._supersede()
        assert not await waiting
