"""Whatever has become of the files in the data directory, the gateway starts, says what it set
aside, keeps what can be read, and fills history from the journal.

The embedded broker's own files are another suite's.
"""

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.io.sqlite.database import Database
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import RESCUE, Devices
from gateway.store.history import History
from tests.support.damage import DAMAGES, copy_of
from tests.support.faults import outcome, runs, seeded
from tests.support.gateway import Gateway
from tests.support.journal import open_bus
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher

DEVICES, COUNT, BAD = 4, 6_000, 20
_DAY = 86_400 * 10**9
Published = dict[str, list[float]]


def payload(number: int) -> bytes:
    """A number, and in between what cannot be decoded."""
    return b"{broken" if number % (COUNT // BAD) == 7 else b'{"seq": %d, "t": 21.5}' % number


def published() -> Published:
    found: Published = {f"d{device}": [] for device in range(DEVICES)}
    for number in range(COUNT):
        if not payload(number).startswith(b"{broken"):
            found[f"d{number % DEVICES}"].append(float(number))
    return found


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Data directories of real runs: one that ended in good order, one that was killed, with its
    write-ahead logs; history has chunks of 1,024 samples and an open end in both. And one as after
    a night: half of history is in larger chunks and rollups."""
    root = tmp_path_factory.mktemp("worlds")
    with mosquitto(root / "broker") as broker:
        house = _house(root / "run", broker.port).start()
        house.wait(lambda: house.api("status")["broker"]["connected"])
        publisher = Publisher(broker.port, DEVICES, payload)
        publisher.run(0, COUNT // 2, 3_000)
        house.wait(lambda: _journalled(house) >= COUNT // 2 - BAD // 2)
        house.stop()
        house.start()
        publisher.run(COUNT // 2, COUNT - COUNT // 2, 3_000)
        house.wait(lambda: _journalled(house) >= COUNT - BAD)
        time.sleep(1.5)  # so that the last chunks are on the disk
        house.kill()
        killed = copy_of(root / "run" / "data", root / "killed")
        house.start()
        house.stop()
        publisher.close()
        night = copy_of(root / "run" / "data", root / "night")
        asyncio.run(_compacted(night))
        yield {"stopped": root / "run" / "data", "killed": killed, "night": night}


async def _compacted(data: Path) -> None:
    history = History(data, 30 * 86_400.0)
    before = await history._settled_before()
    for stream in list(history._streams.values())[::2]:
        await history._keeper._compact_some(stream, before, 2**62)
    await history.close()


def _journalled(house: Gateway) -> int:
    return int(house.api("status")["journal"]["next"]) - 1


def _house(directory: Path, broker: int, **config: Any) -> Gateway:
    devices = [{"type": "mqtt", "id": "field", "topics": ["devices/+/telemetry"]}]
    return Gateway(
        directory,
        broker={"embedded": False, "port": broker},
        devices=devices,
        journal={"gather": "100ms"},
        **config,
    )


def damage(chance: random.Random, data: Path, patterns: list[str]) -> list[str]:
    """One to three files of `data` that match are damaged; what was done."""
    done = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        found = sorted(file for pattern in patterns for file in data.glob(pattern))
        chosen = [file for file in found if file.is_file()]
        if chosen:
            file, kind = chance.choice(chosen), chance.choice(DAMAGES)
            kind(chance, file)
            done.append(f"{kind.__name__} {file.relative_to(data)}")
    return done


async def _everything(history: History) -> Published:
    found: Published = {}
    for series in await history.series():
        if series["metric"] == "seq":
            points = await history.query(series["device"], "seq", 0, 2**62)
            found[series["device"]] = [float(value) for _, value in points]
    return found


async def _rollups_agree(history: History, found: Published) -> None:
    """Days count what there is, wherever they are read from."""
    start = time.time_ns() // _DAY * _DAY - 2 * _DAY
    for device, values in found.items():
        for how, expected in (("count", len(values)), ("sum", sum(values))):
            days = await history.query(device, "seq", start, start + 4 * _DAY, 4, how)
            assert sum(float(value) for _, value in days) == expected, f"{device}: {how} by days"


async def _stores(data: Path) -> tuple[Published, list[Any], int, int, set[str]]:
    """Open them all, read the journal into history as at a start; what they hold."""
    migrations = files("gateway.store") / "migrations" / "state"
    state = Database(data / "state.db", migrations, RESCUE)
    devices, letters = Devices(state), DeadLetters(state)
    history = History(data, 30 * 86_400.0)
    try:
        async with open_bus(data / "journal") as bus:
            generation = -1
            while generation != history.generation:  # as gateway.runtime.remember does
                generation = history.generation
                async for block in bus.blocks(history.position or 1, follow=False):
                    history.add(block.first, block.readings)
                for _ in range(2):  # from buffers, then from chunks
                    found = await _everything(history)
                    if not history.damaged:
                        await _rollups_agree(history, found)
                    await history.flush()
        # The stores can be used, not only opened.
        ids = {devices.id_of(f"d{number}", "field") for number in range(DEVICES)}
        await devices.close()  # may find the damage
        await devices.save()
        kept = len(await letters.list(limit=10_000))
    finally:
        await history.close()
        state.close()
    return found, [*state.set_aside, *history.database.set_aside], len(history.damaged), kept, ids


@pytest.mark.timeout(1800)
def test_damaged_databases_are_replaced_and_history_is_filled_from_the_journal(
    tmp_path: Path, worlds: dict[str, Path]
) -> None:
    chance, wanted = seeded(), published()
    seen: Counter[str] = Counter()
    slowest = 0.0
    rounds = runs(50, 500)
    for number in range(rounds):
        source = chance.choice(sorted(worlds))
        data = copy_of(worlds[source], tmp_path / "data")
        done = damage(chance, data, ["state.db*", "history.db*"])
        what = f"round {number}: {source}: {', '.join(done)}"
        began = time.monotonic()
        found, aside, damaged, kept, ids = asyncio.run(_stores(data))
        slowest = max(slowest, time.monotonic() - began)
        for device, values in wanted.items():
            there = found.get(device, [])
            assert set(there) <= set(values), f"{what}: history of {device} has made-up values"
            assert len(set(there)) == len(there), f"{what}: history of {device} repeats some"
            if not damaged:  # a chunk that is damaged inside is left out, nothing else is
                assert sorted(there) == values, f"{what}: history of {device} lacks some"
        assert set(found) <= set(wanted), f"{what}: history of nobody"
        assert ids == set(wanted), f"{what}: a device has another id"
        seen["set aside"] += len(aside)
        seen["saved rows"] += sum(entry.saved for entry in aside)
        seen["lost rows"] += sum(entry.lost for entry in aside)
        seen["chunks left out"] += damaged
        seen["dead letters kept"] += kept
        if kept < BAD:
            # Of a log that ends early SQLite itself cannot tell that there was more.
            assert aside or "-wal" in what or "remove" in what or "empty" in what, what
    outcome("damaged-databases", rounds=rounds, slowest_s=round(slowest, 1), **seen)
    assert min(seen["set aside"], seen["saved rows"]) > 0, "nothing was damaged"


@pytest.mark.timeout(1800)
def test_a_damaged_data_directory_does_not_keep_the_gateway_from_starting(
    tmp_path: Path, worlds: dict[str, Path]
) -> None:
    chance = seeded()
    seen: Counter[str] = Counter()
    slowest = 0.0
    rounds = runs(8, 60)
    with mosquitto(tmp_path / "broker") as broker:
        # 10 s are promised; a machine that is busy with other tests gets its share more.
        limit = max(10.0, 5 * _start_of(tmp_path / "healthy", broker.port, worlds["stopped"]))
        publisher = Publisher(broker.port, 1, lambda number: b'{"after": %d}' % number)
        for number in range(rounds):
            shutil.rmtree(tmp_path / "house", ignore_errors=True)
            house = _house(tmp_path / "house", broker.port)
            data = copy_of(worlds[chance.choice(sorted(worlds))], tmp_path / "house" / "data")
            done = damage(chance, data, ["state.db*", "history.db*", "journal/*.seg", "lock"])
            began = time.monotonic()
            house.start(ready=False)
            try:
                house.wait(lambda house=house: _answers(house), timeout=limit)  # type: ignore[misc]
                slowest = max(slowest, time.monotonic() - began)
                house.wait(lambda house=house: house.get("/readyz").status_code == 200)  # type: ignore[misc]
                status = house.api("status")
                log = house.log.read_text()
                for entry in status["set_aside"]:
                    assert (data / entry["as"]).exists(), done
                    assert entry["as"] in log, done
                if status["set_aside"]:
                    house.wait(lambda house=house: _warned(house))  # type: ignore[misc]
                before = status["journal"]["next"]
                publisher.run(number * 10, 10)
                house.wait(lambda: _journalled(house) >= before - 1 + 10)  # noqa: B023
                assert set(house.differences().values()) == {0}
                seen["set aside"] += len(status["set_aside"])
            except AssertionError as error:
                raise AssertionError(f"round {number}: {', '.join(done)}\n{error}") from error
            finally:
                house.kill()
        publisher.close()
    outcome("damaged-data-directory", rounds=rounds, slowest_start_s=round(slowest, 1), **seen)


def _start_of(directory: Path, port: int, world: Path) -> float:
    """How long the gateway takes to answer over data that is whole (s)."""
    house = _house(directory, port)
    copy_of(world, directory / "data")
    began = time.monotonic()
    house.start(ready=False)
    try:
        house.wait(lambda: _answers(house))
    finally:
        house.kill()
    return time.monotonic() - began


def _answers(house: Gateway) -> bool:
    try:
        return house.get("/api/v1/status").status_code == 200
    except httpx.TransportError:
        return False


def _set_aside(house: Gateway) -> set[str]:
    return {entry["file"] for entry in house.api("status")["set_aside"]}


def _warned(house: Gateway) -> bool:
    reasons = house.api("status")["health"]["reasons"]
    return any(reason["metric"] == "set_aside" for reason in reasons)


@pytest.mark.parametrize("late", [0, 3], ids=["while messages come", "once they are over"])
def test_databases_deleted_while_it_runs_are_made_again_and_filled(
    tmp_path: Path, worlds: dict[str, Path], late: int
) -> None:
    """late: how long history waits until it writes, and finds it out (s)."""
    with mosquitto(tmp_path / "broker") as broker:
        house = _house(tmp_path / "house", broker.port)
        house.module = "tests.support.eager"
        house.environment = {"HISTORY_LONGEST": str(late)}
        data = copy_of(worlds["killed"], tmp_path / "house" / "data")
        house.start()
        try:
            for pattern in ("history.db*", "state.db*"):
                for file in data.glob(pattern):
                    file.unlink()
            publisher = Publisher(broker.port, DEVICES, payload)
            publisher.run(COUNT, 4_200, 2_000)  # a chunk of each device, and dead letters
            publisher.close()

            def whole() -> bool:
                found = [len(house.values(device, "seq")) for device in published()]
                return sum(found) == COUNT + 4_200 - BAD - 14

            house.wait(lambda: _set_aside(house) == {"history.db", "state.db"})
            house.wait(whole, timeout=30)
            assert set(house.differences().values()) == {0}
            assert {d["id"] for d in house.api("devices")} >= set(published())
        finally:
            house.stop()
        house.start()
        try:
            house.wait(whole, timeout=30)
            assert house.api("status")["set_aside"] == []
        finally:
            house.kill()
