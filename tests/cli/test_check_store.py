"""`berrygate check --store` finds every kind of damage, changes nothing, and needs no gateway."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.io.sqlite.database import Database
from gateway.store.dead_letters import DeadLetter, DeadLetters
from gateway.store.devices import Devices
from gateway.store.history import History
from tests.support.command import Command
from tests.support.journal import numbered, open_bus, publish, running

Berrygate = Callable[..., Command]


async def _fill(data: Path) -> None:
    state = Database(data / "state.db", files("gateway.store") / "migrations" / "state")
    devices = Devices(state)
    for number in range(5):
        devices.id_of(f"Device {number}", "field")
    await devices.save()
    await DeadLetters(state).add([DeadLetter("decode", "field", "malformed")] * 3)
    history = History(data, 30 * 86_400.0)
    async with open_bus(data / "journal") as bus, running(bus):
        await bus.subscribe("sink")
        for first in range(1, 8_001, 500):
            await publish(bus, numbered(first, first + 500))
        async for block in bus.blocks(1, follow=False):
            history.add(block.first, block.readings)
    await history.flush()
    # One device as after a night: its two chunks are one, and in rollups.
    await history._keeper._compact_some(history._streams["d0", ("n", "noise")], 8_001, 2**62)
    await history.close()
    state.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    asyncio.run(_fill(directory))
    return directory


@pytest.fixture
def data(whole: Path, config: Path) -> Path:
    directory = config.parent / "data"
    shutil.copytree(whole, directory, dirs_exist_ok=True)
    return directory


def sums(directory: Path) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in directory.rglob("*")
        if file.is_file()
    }


def test_what_is_whole_is_counted_and_nothing_is_changed(berrygate: Berrygate, data: Path) -> None:
    before = sums(data)
    done = berrygate("check", "--store")
    assert (done.code, done.err) == (0, ""), done.out
    assert done.out.startswith("ok: ")
    assert "16 blocks, 8,000 readings" in done.out
    assert "13 chunks, 8,000 samples, 3 rollups" in done.out
    assert "5 devices, 3 dead letters" in done.out
    assert sums(data) == before
    answer = json.loads(berrygate("check", "--store", "--json").out)
    assert answer["ok"] is True
    assert answer["findings"] == []
    assert answer["readings"] == 8_000


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(content)


def _flip_block(data: Path) -> str:
    file = sorted((data / "journal").glob("*.seg"))[0]
    _flip(file, 3_000)
    return file.name


def _flip_head(data: Path) -> str:
    file = sorted((data / "journal").glob("*.seg"))[0]
    _flip(file, 12)
    return file.name


def _change(data: Path, name: str, statement: str) -> str:
    connection = sqlite3.connect(data / name, isolation_level=None)
    connection.execute(statement)
    connection.close()
    return name


def _page(data: Path, name: str) -> str:
    content = bytearray((data / name).read_bytes())
    size = int.from_bytes(content[16:18], "big")
    content[3 * size : 4 * size] = b"\xa5" * size
    (data / name).write_bytes(content)
    return name


_HALF = "substr(columns, 1, 60) || x'ff' || substr(columns, 62)"
DAMAGE: dict[str, Callable[[Path], str]] = {
    "a block": _flip_block,
    "a segment's head": _flip_head,
    "a page of history": lambda data: _page(data, "history.db"),
    "a page of state": lambda data: _page(data, "state.db"),
    "no database": lambda data: (data / "history.db").write_bytes(b"x" * 9_000) and "history.db",
    "a chunk's values": lambda data: _change(
        data, "history.db", f"UPDATE chunk SET columns = CAST({_HALF} AS BLOB) WHERE id = 5"
    ),
    "a chunk's times": lambda data: _change(
        data, "history.db", "UPDATE chunk SET t_min = t_min + 1 WHERE id = 5"
    ),
    "a chunk of the first version": lambda data: _change(
        data, "history.db", "UPDATE chunk SET count = 3, crc = NULL WHERE id = 5"
    ),
    "a stream's mark": lambda data: _change(
        data, "history.db", "UPDATE stream SET last_seq = last_seq + 1 WHERE id = 2"
    ),
    "history's cursor": lambda data: _change(
        data, "history.db", "UPDATE cursor SET position = 9000000, crc = NULL"
    ),
    "a rollup's values": lambda data: _change(
        data, "history.db", "UPDATE chunk SET columns = substr(columns, 2) WHERE level = 2"
    ),
    "a rollup that is gone": lambda data: _change(
        data, "history.db", "DELETE FROM chunk WHERE level = 1"
    ),
    "a chunk that claims to be in rollups": lambda data: _change(
        data, "history.db", "UPDATE chunk SET rolled = 15 WHERE id = 5"
    ),
    "a chunk of nobody": lambda data: _change(
        data, "history.db", "UPDATE chunk SET stream = 99 WHERE id = 5"
    ),
    "a device's name": lambda data: _change(
        data, "state.db", "UPDATE device SET original = 'other' WHERE id = 'device-3'"
    ),
    "a dead letter's reading": lambda data: _change(
        data, "state.db", "UPDATE dead_letter SET reading = x'ff00' WHERE id = 2"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_says_its_fix(berrygate: Berrygate, data: Path, kind: str) -> None:
    file = DAMAGE[kind](data)
    before = sums(data)
    done = berrygate("check", "--store", "--json")
    answer = json.loads(done.out)
    assert (done.code, answer["ok"]) == (1, False)
    assert {finding["file"].rpartition("/")[2] for finding in answer["findings"]} == {file}
    assert all(finding["problem"] and finding["fix"] for finding in answer["findings"])
    assert sums(data) == before


def test_findings_are_shown_with_their_fix(berrygate: Berrygate, data: Path) -> None:
    file = _flip_block(data)
    done = berrygate("check", "--store")
    assert done.code == 1
    assert done.out.startswith("damaged: ")
    assert f"damaged journal/{file}: " in done.out
    assert "    fix: " in done.out


def test_a_gateway_may_run_meanwhile(berrygate: Berrygate, data: Path) -> None:
    history = History(data, 30 * 86_400.0)
    state = Database(data / "state.db", files("gateway.store") / "migrations" / "state")
    letters = DeadLetters(state)
    asyncio.run(letters.add([DeadLetter("decode", "field", "in the log")]))
    done = berrygate("check", "--store", "--json")
    answer = json.loads(done.out)
    assert answer["findings"] == []
    assert answer["dead_letters"] == 4  # what lies in the write-ahead log counts
    asyncio.run(letters.add([DeadLetter("decode", "field", "after")]))
    asyncio.run(history.close())
    state.close()


def test_no_data_directory_is_said(berrygate: Berrygate, config: Path) -> None:
    (config.parent / "data").rmdir()
    done = berrygate("check", "--store")
    assert done.code == 2
    assert "is not there" in done.err
    assert " fix: " in done.err


def test_what_was_set_aside_is_mentioned_and_no_fault(berrygate: Berrygate, data: Path) -> None:
    (data / "state.db").write_bytes(b"no database")
    Database(data / "state.db", files("gateway.store") / "migrations" / "state").close()
    done = berrygate("check", "--store")
    assert done.code == 0
    assert "was set aside earlier" in done.out
