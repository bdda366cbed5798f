"""The benchmark of history in short: sizes, equal answers, and times against each other."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.store import keeping
from gateway.store.history import History
from tests.benchmarks.history.measure import (
    BEGIN,
    DAY,
    MONTH,
    SECOND,
    ask,
    bursts,
    fill,
    fill_year,
    ingest,
    percentile,
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_PAUSE", 0.0)


async def best(question: Callable[[], Awaitable[float]]) -> float:
    """The shortest of some times (s): what is left once nothing was in the way."""
    return min([await question() for _ in range(9)])


async def test_a_value_takes_about_a_byte_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    stored = await fill(history, tmp_path, 10, 6 * 3_600)
    assert stored.values == 3 * 10 * 6 * 3_600
    pages, free, size = await history.database.read(keeping._pages)
    used = (pages - free) * size  # a small file keeps a larger part of itself free
    most = 115e6 / 86.4e6  # 115 MB for 24 h of 1,000 metrics a second
    assert used / stored.values < most
    assert stored.before / stored.values < most
    await history.close()


async def test_many_quiet_devices_take_less_after_the_night(tmp_path: Path) -> None:
    history, sequence = History(tmp_path, MONTH), 1
    made = list(bursts(200, 100))
    for number, burst in enumerate(made):  # one a minute; flushed by their age, every quarter
        for reading in burst:
            reading.time = BEGIN + number * 60 * SECOND
        history.add(sequence, burst)
        sequence += len(burst)
        if number % 6 == 5:
            await history.flush()
    await history.flush()

    async def used() -> int:
        return await history.database.read(
            lambda c: c.execute("SELECT sum(length(times) + length(columns)) FROM chunk").fetchone()
        )  # type: ignore[no-any-return]

    (before,) = await used()  # type: ignore[misc]
    await history.compact()
    (after,) = await used()  # type: ignore[misc]
    assert after < before
    await history.close()


@pytest.mark.alone
async def test_a_year_is_asked_as_quickly_as_a_day(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    await fill_year(history, 365, every=60)
    end = BEGIN + 365 * DAY * SECOND + 17
    aligned = BEGIN + 364 * DAY * SECOND

    async def year() -> float:
        points, took = await ask(history, "meter", "power", (BEGIN + 7, end))
        assert 200 < len(points) <= 500
        return took

    async def day() -> float:
        return (await ask(history, "meter", "power", (end - DAY * SECOND, end)))[1]

    async def all_samples() -> float:
        history._keeper.retention = {}
        return (await ask(history, "meter", "power", (end - 30 * DAY * SECOND, end)))[1]

    assert await best(year) < 20 * await best(day)
    assert await best(year) < 20 * await best(all_samples)
    whole = await history.query("meter", "power", BEGIN, aligned, 364, "count")
    assert {value for _, value in whole} <= {1_439.0, 1_440.0, 1_441.0}  # around midnight
    await history.close()


@pytest.mark.alone
async def test_questions_do_not_hold_up_ingest(tmp_path: Path) -> None:
    history = History(tmp_path, MONTH)
    await fill(history, tmp_path, 20, 2 * 3_600)
    span = (BEGIN, BEGIN + 2 * 3_600 * SECOND)
    made = list(bursts(20, 750, seed=5))
    ratios = []
    for first in (0, 250, 500):
        quiet = await ingest(history, history.reached, made[first : first + 125], span, 0)
        busy = await ingest(history, history.reached, made[first + 125 : first + 250], span, 10)
        assert len(busy.asked) >= 10
        ratios.append(percentile(busy.adding, 0.9) / percentile(quiet.adding, 0.9))
    assert min(ratios) < 3
    await history.close()
