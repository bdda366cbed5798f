"""A disk that refuses costs nothing that was acknowledged: what cannot be stored is waited for,
and goes on within 5 s once the disk takes data again."""

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.store import batching, taking
from gateway.store.dead_letters import DeadLetter, DeadLetters
from gateway.store.devices import RESCUE, Devices
from gateway.store.history import History
from tests.support.faults import outcome, seeded
from tests.support.small_disk import SmallDisk, small_disk

BEGIN = 1_760_000_000_000_000_000
WITHIN = 5.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


def state_of(directory: Path) -> Database:
    return Database(directory / "state.db", files("gateway.store") / "migrations" / "state", RESCUE)


def letters(count: int, size: int = 2_000) -> list[DeadLetter]:
    return [DeadLetter("decode", "field", "malformed", payload=bytes(size))] * count


def readings(first: int, count: int) -> list[Reading]:
    chance = seeded()
    return [
        Reading(f"d{n % 3}", BEGIN + n * 10**9, {"n": float(n), "noise": chance.random()})
        for n in range(first, first + count)
    ]


async def within(condition: Callable[[], bool], seconds: float = WITHIN) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("kind", ["full", "io-error"])
async def test_dead_letters_wait_for_the_disk_and_none_is_lost(disk: SmallDisk, kind: str) -> None:
    state = state_of(disk.path)
    store = DeadLetters(state)
    await store.add(letters(10))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if kind == "full":
        disk.fill()
    else:  # every write behind this place fails, as on a dying card
        size = (disk.path / "state.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    keeping = asyncio.create_task(store.keep(letters(100)))
    await within(lambda: bool(store.trouble))
    # What is there can still be read, and nothing of the refused letters is half there.
    assert len(await store.list(limit=1_000)) == 10
    await asyncio.sleep(1.5)
    assert not keeping.done()
    disk.free()
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    took = await within(keeping.done)
    await keeping
    assert store.trouble == ""
    assert len(await store.list(limit=1_000)) == 110
    assert state.set_aside == []
    state.close()
    outcome(f"dead-letters-{kind}", waited_s=round(took, 1), lost=0)


async def stored(history: History) -> list[float]:
    found = [await history.query(f"d{device}", "n", 0, 2**62) for device in range(3)]
    return sorted(float(value) for own in found for _, value in own)


async def test_history_on_a_full_disk_answers_and_stores_all_of_it_later(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "BUDGET", 400_000)
    history = History(disk.path, 30 * 86_400.0)
    history.add(1, readings(1, 3_000))
    await history.flush()
    position = history.database.read_now(
        lambda c: c.execute("SELECT position FROM cursor").fetchone()
    )
    disk.fill()
    journal = readings(1, 60_000)
    at, largest = 3_000, 0
    held = False
    while at < 60_000 and not held:
        # As the pump does: it stops where memory would grow.
        try:
            await asyncio.wait_for(history.room(), 1.0)
        except TimeoutError:
            held = True
            break
        history.add(at + 1, journal[at : at + 500])
        at += 500
        await asyncio.sleep(0)
        largest = max(
            largest,
            sum(b.size for s in history._streams.values() for b in s.pending()),
        )
    assert held, "memory grows while the disk refuses"
    assert largest < 3 * 400_000
    assert history.failing
    assert await stored(history) == [float(n) for n in range(1, at + 1)]
    assert position == history.database.read_now(
        lambda c: c.execute("SELECT position FROM cursor").fetchone()
    ), "the cursor has passed what is not stored"
    # A crash now: what the journal has from the cursor on fills it again.
    disk.free()
    took = await within(lambda: not history.failing)
    await asyncio.to_thread(history.database.close)
    again = History(disk.path, 30 * 86_400.0)
    begin = again.position
    again.add(begin, journal[begin - 1 : at])
    assert await stored(again) == [float(n) for n in range(1, at + 1)]
    await again.close()
    outcome("history-full", waited_s=round(took, 1), lost=0, repeated=0)


async def test_a_crash_while_the_disk_refuses_part_of_history_loses_nothing(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stream's later samples must not be stored before its earlier ones."""
    monkeypatch.setattr(batching, "LONGEST", 0.1)
    history = History(disk.path, 30 * 86_400.0)
    journal = readings(1, 9_000)
    history.add(1, journal[:300])
    await history.flush()
    disk.fill()
    history.add(301, journal[300:6_000])
    await within(lambda: bool(history.failing))
    disk.free()
    history.add(6_001, journal[6_000:9_000])
    await within(lambda: not history.failing)
    await asyncio.to_thread(history.database.close)  # killed: open buffers are gone
    again = History(disk.path, 30 * 86_400.0)
    again.add(again.position, journal[again.position - 1 :])
    assert await stored(again) == [float(n) for n in range(1, 9_001)]
    await again.close()


async def test_the_write_ahead_log_does_not_grow_while_the_disk_is_full(disk: SmallDisk) -> None:
    state = state_of(disk.path)
    store = DeadLetters(state, quota=200)
    log = disk.path / "state.db-wal"
    disk.fill(leave=1_000_000)
    keeping = [asyncio.create_task(store.keep(letters(50))) for _ in range(10)]
    await asyncio.sleep(3.0)
    during = log.stat().st_size
    disk.free()
    await asyncio.wait_for(asyncio.gather(*keeping), 10)
    for _ in range(200):
        await store.add(letters(50))
    assert during < 2_000_000
    assert log.stat().st_size < 6_000_000
    assert len(await store.list(limit=10_000)) == 200
    state.close()
    outcome("write-ahead-log", largest_while_full=during)


async def test_a_gateway_starts_its_stores_on_a_full_disk(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "LONGEST", 0.1)
    state, history = state_of(disk.path), History(disk.path, 30 * 86_400.0)
    devices = Devices(state)
    assert devices.id_of("Pump", "a") == "pump"
    assert devices.id_of("pump", "a") == "pump-2"
    await devices.save()
    history.add(1, readings(1, 3_000))
    await history.flush()
    state.close()
    await history.close()
    disk.fill()
    state, history = state_of(disk.path), History(disk.path, 30 * 86_400.0)
    devices, dead = Devices(state), DeadLetters(state)
    # What is there is read, so that nobody gets another's id, and nothing is set aside.
    assert devices.id_of("pump", "a") == "pump-2"
    assert await stored(history) == [float(n) for n in range(1, 3_001)]
    assert devices.id_of("PUMP", "a") == "pump-3"
    settling = asyncio.create_task(devices.settle())
    keeping = asyncio.create_task(dead.keep(letters(3)))
    history.add(3_001, readings(3_001, 3_200))
    await within(lambda: bool(devices.trouble and dead.trouble and history.failing))
    disk.free()
    took = await within(lambda: settling.done() and keeping.done() and not history.failing)
    assert await stored(history) == [float(n) for n in range(1, 6_201)]
    assert not state.set_aside
    assert not history.database.set_aside
    await history.close()
    state.close()
    again = Devices(state_of(disk.path))
    assert again.id_of("PUMP", "a") == "pump-3"
    outcome("stores-start-full", waited_s=round(took, 1))


async def test_old_chunks_can_be_deleted_once_a_little_space_is_let_go(disk: SmallDisk) -> None:
    history = History(disk.path, 1_000.0)
    history.add(1, readings(1, 12_000))
    await history.flush()
    disk.fill()
    now = BEGIN + 30_000 * 10**9
    await history.expire(now)  # says so, and does not raise
    disk.free()
    disk.fill(leave=1_000_000)  # as when the ballast is let go
    await history.expire(now)
    left = history.database.read_now(
        lambda c: c.execute("SELECT id FROM chunk WHERE level = 0").fetchall()
    )
    assert left == []
    await history.close()
