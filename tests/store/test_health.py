"""Health history: every stay once, however often and whenever it is written."""

import itertools
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.io.sqlite.database import Database
from gateway.store import health as module
from gateway.store.health import WHOLE, HealthHistory, Stay, thinned

SECOND = 10**9


class Clock:
    """A clock of the test's own, in s."""

    now = 1_000_000

    def __call__(self) -> int:
        return self.now * SECOND


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "boottime", clock)
    return clock


def seconds(stays: list[Stay]) -> list[tuple[float, float, int, str]]:
    begin = Clock.now
    return [(s.since / 1e3 - begin, s.until / 1e3 - begin, s.score, s.level) for s in stays]


async def everything(log: HealthHistory, part: str) -> list[tuple[float, float, int, str]]:
    return seconds(await log.of(part, 0, 10**13))


async def test_a_change_is_a_stay_and_what_goes_on_reaches_until_now(
    opened: Callable[[], Database], clock: Clock
) -> None:
    log = HealthHistory(opened())
    log.note("bridge/home", 100, "EXCELLENT")
    clock.now += 100
    log.note("bridge/home", 40, "CRITICAL", "no connection")
    clock.now += 10
    expected = [(0, 100, 100, "EXCELLENT"), (100, 110, 40, "CRITICAL")]
    assert await everything(log, "bridge/home") == expected
    await log.saved()
    assert await everything(log, "bridge/home") == expected
    clock.now += 50
    longer = [expected[0], (100, 160, 40, "CRITICAL")]
    assert await everything(log, "bridge/home") == longer
    await log.saved()
    # After a restart nothing is known but what was written.
    clock.now += 500
    again = HealthHistory(log._database)
    again.note("bridge/home", 100, "EXCELLENT")
    clock.now += 5
    assert await everything(again, "bridge/home") == [*longer, (660, 665, 100, "EXCELLENT")]
    assert [s.why for s in await again.of("bridge/home", 0, 10**13)] == ["", "no connection", ""]


async def test_what_waits_to_be_called_well_keeps_its_reason(
    opened: Callable[[], Database], clock: Clock
) -> None:
    log = HealthHistory(opened())
    for level, score, why in (
        ("CRITICAL", 40, "no connection"), ("CRITICAL", 100, ""), ("WARNING", 100, ""),
        ("GOOD", 85, "slow"), ("GOOD", 86, ""),
    ):  # fmt: skip
        log.note("bridge/home", score, level, why)
        clock.now += 70
    found = await log.of("bridge/home", 0, 10**13)
    assert [stay.why for stay in found] == [*["no connection"] * 3, "slow", ""]


async def test_a_score_that_trembles_has_one_row_a_minute(
    opened: Callable[[], Database], clock: Clock
) -> None:
    log = HealthHistory(opened())
    noise = random.Random(1)
    last = 0
    for _ in range(3600):
        last = noise.randint(91, 99)
        log.note("stage/machine", last, "EXCELLENT")
        log.settle()
        clock.now += 1
    clock.now += 100
    log.settle()
    found = await everything(log, "stage/machine")
    assert 55 <= len(found) <= 61
    assert found[-1][2] == last  # and what it came to is not forgotten
    assert all(one[1] == two[0] for one, two in itertools.pairwise(found))


async def test_a_device_is_told_of_when_it_is_not_well(
    opened: Callable[[], Database], clock: Clock
) -> None:
    log = HealthHistory(opened())
    log.note(WHOLE, 100, "EXCELLENT")
    clock.now += 100
    log.note("device/pump", 20, "FAILED", "no message for 300 s")
    clock.now += 50
    log.end("device/pump")
    log.note(WHOLE, 90, "EXCELLENT")
    await log.saved()
    clock.now += 50
    assert await everything(log, "device/pump") == [
        (0, 100, 100, "EXCELLENT"), (100, 150, 20, "FAILED"), (150, 200, 100, "EXCELLENT"),
    ]  # fmt: skip
    log.end(WHOLE)
    clock.now += 70
    log.note(WHOLE, 100, "EXCELLENT")
    clock.now += 1
    assert (await everything(log, "device/pump"))[-2:] == [
        (150, 200, 100, "EXCELLENT"), (270, 271, 100, "EXCELLENT"),
    ]  # fmt: skip


async def test_a_device_that_nobody_knows_of_was_not_well(
    opened: Callable[[], Database], clock: Clock
) -> None:
    log = HealthHistory(opened())
    log.note(WHOLE, 100, "EXCELLENT")
    log.unknown("device/pump")
    clock.now += 30
    await log.saved()
    assert await log._database.read(lambda c: c.execute("SELECT part FROM health").fetchall()) == [
        (WHOLE,)
    ]
    log.end("device/pump")  # so soon after a start nothing is made of it
    clock.now += 70
    log.unknown("device/pump")
    clock.now += 100
    for _ in range(2):  # as it goes on, and from its row
        assert await everything(log, "device/pump") == [(0, 100, 100, "EXCELLENT")]
        await log.saved()
    log.end("device/pump")
    clock.now += 100
    expected = [(0, 100, 100, "EXCELLENT"), (200, 300, 100, "EXCELLENT")]
    for _ in range(2):
        assert await everything(log, "device/pump") == expected
        await log.saved()


async def test_it_is_bounded_by_age_and_by_rows(
    opened: Callable[[], Database], clock: Clock
) -> None:
    log = HealthHistory(opened())
    log.keep(retention=1000, rows=50, every=600)
    for n in range(200):
        log.note("bridge/home", 100 if n % 2 else 40, "EXCELLENT" if n % 2 else "CRITICAL")
        clock.now += 1
    await log.saved()
    assert len(await everything(log, "bridge/home")) == 50
    log.end("bridge/home")
    clock.now += 5000
    await log.saved()
    await log.saved()
    assert await everything(log, "bridge/home") == []


async def test_a_disk_that_refuses_is_waited_for(
    opened: Callable[[], Database], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = HealthHistory(opened())
    log.note("bridge/home", 100, "EXCELLENT")
    clock.now += 1
    log.end("bridge/home")

    async def refuse(job: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(log._database, "write", refuse)
        await log.saved()
    assert "full" in log.trouble
    assert await everything(log, "bridge/home") == [(0, 1, 100, "EXCELLENT")]
    await log.saved()
    assert log.trouble == ""
    assert await everything(HealthHistory(log._database), "bridge/home") == [
        (0, 1, 100, "EXCELLENT")
    ]


async def test_steady_parts_cost_few_bytes(
    opened: Callable[[], Database], clock: Clock, tmp_path: Path
) -> None:
    """A day of twenty parts of which two change every ten minutes."""
    log = HealthHistory(opened())
    written = []
    for n in range(144):
        for part in range(20):
            score = 100 - (n % 3) * 20 if part < 2 else 100
            log.note(f"stage/{part}", score, str(score))
        clock.now += 600
        await log._database.checkpoint()
        await log.saved()
        written.append((tmp_path / "state.db-wal").stat().st_size)
    rows = await log._database.read(lambda c: c.execute("SELECT count(*) FROM health").fetchone())
    assert rows[0] <= 20 + 2 * 144
    mean = sum(written) / len(written)
    print(f"{rows[0]} rows, {mean:,.0f} bytes a write, {sum(written) / 1e6:.1f} MB a day")
    assert mean < 20_000


def test_thinned_keeps_the_worst() -> None:
    stays = [
        Stay(0, 100, 100, "EXCELLENT", ""),
        Stay(100, 110, 20, "FAILED", "x"),
        Stay(110, 300, 100, "EXCELLENT", ""),
        Stay(800, 1000, 90, "EXCELLENT", ""),
    ]
    found = thinned(stays, 0, 1000, 10)
    assert [each and each.score for each in found] == [
        100, 20, 100, None, None, None, None, None, 90, 90,
    ]  # fmt: skip


async def test_a_clock_that_is_set_makes_no_two_stays_of_one(
    opened: Callable[[], Database], clock: Clock
) -> None:
    offset = [0]
    log = HealthHistory(opened(), lambda moment: moment + offset[0])
    log.note("bridge/home", 100, "EXCELLENT")
    clock.now += 10
    await log.saved()
    offset[0] = 5000 * SECOND
    assert await everything(log, "bridge/home") == [(5000, 5010, 100, "EXCELLENT")]
