"""Dead letters: kept with their reason, exactly so many, and readable whatever they hold."""

import asyncio
import sqlite3
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.core.contracts import Flag, Reading
from gateway.io.sqlite.database import Database
from gateway.store.dead_letters import KEPT_PAYLOAD, DeadLetter, DeadLetters

Opened = Callable[[], Database]


def letter(number: int, **changes: object) -> DeadLetter:
    return DeadLetter(
        **{"stage": "decode", "name": "field", "reason": "malformed", "time": number, **changes}  # type: ignore[arg-type]
    )


async def test_what_is_kept_of_a_letter(opened: Opened) -> None:
    store = DeadLetters(opened())
    reading = Reading("a", 5, {"x": 1.0, "on": True, "n": 3, "text": "ü"})
    long = bytes(range(256)) * 100
    await store.add([letter(1, payload=long, topic="t\x00/ü", detail="d" * 5_000, device="a")])
    await store.add([letter(2, stage="deliver", name="sink", reading=reading)])
    newest, oldest = await store.list()
    assert newest.reading == reading
    assert (oldest.payload, oldest.size) == (long[:KEPT_PAYLOAD], len(long))
    assert (oldest.topic, len(oldest.detail)) == ("t\x00/ü", 1_000)
    assert [entry.name for entry in await store.list("sink")] == ["sink"]


async def test_the_quota_is_exact_and_what_goes_is_counted(opened: Opened) -> None:
    store = DeadLetters(opened(), quota=100)
    for first in range(0, 90, 10):
        await store.add([letter(number) for number in range(first, first + 10)])
    kept = await store.list(limit=1_000)
    await store.delete([entry.id for entry in kept[20:60]])  # in the middle: 50 are left
    await store.add([letter(number) for number in range(90, 140)])
    assert store.dropped == 0, "letters went although there was room"
    assert len(await store.list(limit=1_000)) == 100
    await store.add([letter(number) for number in range(140, 143)])
    kept = await store.list(limit=1_000)
    assert (len(kept), store.dropped) == (100, 3)
    assert [entry.time for entry in kept[:53]] == list(range(142, 89, -1))
    assert min(entry.time for entry in kept) == 3  # the oldest went
    await store.add([letter(number) for number in range(1_000, 1_250)])  # more than the quota
    kept = await store.list(limit=1_000)
    assert [entry.time for entry in kept] == list(range(1_249, 1_149, -1))
    assert store.dropped == 3 + 250


async def test_many_may_add_while_others_read(opened: Opened) -> None:
    database = opened()
    store = DeadLetters(database, quota=500)

    async def add(who: int) -> None:
        for number in range(20):
            await store.keep([letter(number, name=f"s{who}", payload=bytes(5_000))] * 5)

    async def read() -> int:
        most = 0
        for _ in range(20):
            most = max(most, len(await store.list(limit=10_000)))
        return most

    results = await asyncio.gather(*(add(who) for who in range(10)), read(), read())
    assert max(results[-2:]) <= 500  # type: ignore[type-var]
    assert len(await store.list(limit=10_000)) == 500
    assert store.dropped == 500
    assert sum(total["count"] for total in store.totals()) == 1_000
    pages, before = [], 2**62
    while page := await store.list(limit=60, before=before):
        pages += [entry.id for entry in page]
        before = page[-1].id
    assert len(set(pages)) == len(pages) == 500


async def test_a_damaged_reading_does_not_hide_the_letters(opened: Opened, tmp_path: Path) -> None:
    store = DeadLetters(opened())
    await store.add([letter(n, reading=Reading("a", n, {"x": 1.0})) for n in range(3)])
    with sqlite3.connect(tmp_path / "state.db") as spoiled:
        spoiled.execute("UPDATE dead_letter SET reading = x'ff' WHERE id = 2")
        spoiled.execute("UPDATE dead_letter SET detail = CAST(x'c3' AS TEXT) WHERE id = 3")
    found = await store.list()
    assert [entry.reading is None for entry in found] == [False, True, False]
    assert found[0].detail == "�"


async def test_keeping_waits_and_says_so(opened: Opened, tmp_path: Path) -> None:
    store = DeadLetters(opened())
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as other:
        other.execute("ALTER TABLE dead_letter RENAME TO away")
        keeping = asyncio.create_task(store.keep([letter(1)]))
        await asyncio.sleep(0.3)
        assert not keeping.done()
        assert "dead_letter" in store.trouble
        other.execute("ALTER TABLE away RENAME TO dead_letter")
    await asyncio.wait_for(keeping, 5)
    assert store.trouble == ""
    assert len(await store.list()) == 1


@pytest.mark.parametrize("end", ["closed", "killed"])
async def test_totals_after_a_restart_are_what_is_kept(
    opened: Opened, tmp_path: Path, end: str
) -> None:
    store = DeadLetters(opened(), quota=5)
    await store.add([letter(n, name=f"s{n % 2}") for n in range(9)])
    if end == "closed":
        store._database.close()
    again = DeadLetters(opened(), quota=5)
    assert sum(total["count"] for total in again.totals()) == 5


async def test_a_reading_refused_again_raises_its_count_and_makes_no_second_letter(
    opened: Opened,
) -> None:
    store = DeadLetters(opened())
    refused = {"stage": "deliver", "name": "sink", "reason": "rejected", "device": "a"}
    reading = Reading("a", 5, {"x": 1.0})
    await store.add([letter(10, **refused, reading=reading, detail="first")])
    # A replay marks it; a reading that differs in anything else is another one.
    again = Reading("a", 5, {"x": 1.0}, flags=int(Flag.HISTORICAL))
    await store.add([letter(30, **refused, reading=again, detail="then")])
    await store.add([letter(40, **refused, reading=Reading("a", 6, {"x": 1.0}))])
    await store.add([letter(40, **refused, reading=Reading("a", 5, {"x": 2.0}))])
    await store.add([letter(40, **{**refused, "name": "other"}, reading=reading)])
    await store.add([letter(40, **{**refused, "reason": "attempts"}, reading=reading)])
    found = await store.list()
    assert [entry.count for entry in found] == [1, 1, 1, 1, 2]
    assert (found[-1].time, found[-1].last, found[-1].detail) == (10, 30, "then")
    shown = found[-1].as_dict()
    assert (shown["count"], shown["time"], shown["last"]) == (2, 0, 0)
    group = next(g for g in await store.groups("sink") if g["reason"] == "rejected")
    assert (group["count"], group["refused"]) == (3, 4)


async def test_frames_that_are_alike_stay_apart(opened: Opened) -> None:
    """Two of a device may be two measurements: tried again, each gives its own reading."""
    store = DeadLetters(opened())
    await store.add([letter(n, topic="t", payload=b"21.5") for n in range(3)])
    assert [entry.count for entry in await store.list()] == [1, 1, 1]


async def test_a_letter_that_was_tried_in_vain_says_so(opened: Opened) -> None:
    store = DeadLetters(opened())
    await store.add([letter(1), letter(2)])
    await store.again({1: "still bad"})
    newest, oldest = await store.list()
    assert (newest.count, newest.last) == (1, 2)
    assert (oldest.count, oldest.detail, oldest.time) == (2, "still bad", 1)
    assert oldest.last > 10**18


async def test_letters_of_an_older_version_are_read(tmp_path: Path) -> None:
    migrations = files("gateway.store") / "migrations" / "state"
    old = tmp_path / "old"
    old.mkdir()
    for name in ("0001_devices_and_dead_letters.sql", "0002_checksums.sql"):
        (old / name).write_text((migrations / name).read_text())
    database = Database(tmp_path / "state.db", old)
    row = ("deliver", "sink", "rejected", "", "a", "", b"", 0, 7)
    await database.write(
        lambda c: c.execute(
            "INSERT INTO dead_letter (stage, name, reason, detail, device, topic, payload, size, "
            "time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    )
    database.close()
    database = Database(tmp_path / "state.db", migrations)
    try:
        (found,) = await DeadLetters(database).list()
        assert (found.count, found.time, found.last) == (1, 7, 7)
    finally:
        database.close()
