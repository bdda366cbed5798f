"""Dead letters: kept with their reason, exactly so many, and readable whatever they hold."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.contracts import Reading
from gateway.io.sqlite import Database
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
    await store.add([letter(n, reading=Reading("a", 1, {"x": 1.0})) for n in range(3)])
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
