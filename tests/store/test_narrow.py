"""Open buffers take a quarter of the memory, and answer as if they did not."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.times import Boot, Times
from gateway.core.contracts import Flag, Reading
from gateway.store import narrow, taking
from gateway.store.buffers import Buffer, pack
from gateway.store.history import History
from gateway.store.narrow import widen

SECOND = 10**9
BEGIN = 1_790_000_000 * SECOND
END = BEGIN + 10**15
MONTH = 30 * 86_400.0
_WIDE = 5e-324, -0.0, math.inf, -math.inf, math.nan, 1.7e308, 2.0**62, 2.0**63, 0.1 + 0.2, 1e22

steps = st.one_of(
    st.integers(-130, 130), st.integers(-40_000, 40_000), st.integers(-(2**62), 2**62)
)
columns = st.one_of(
    st.lists(st.integers(-300, 300).map(lambda n: n / 10), min_size=1),
    st.lists(st.integers(-(10**7), 10**7).map(lambda n: n / 10_000), min_size=1),
    st.lists(st.integers(-(2**53), 2**53).map(float), min_size=1),
    st.lists(st.floats(), min_size=1),
    st.lists(st.sampled_from(_WIDE), min_size=1),
)


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.integers(1, 4).flatmap(
        lambda metrics: st.lists(
            st.tuples(
                st.lists(steps, min_size=1),
                st.lists(columns, min_size=metrics, max_size=metrics),
            ),
            min_size=1,
            max_size=5,
        )
    ),
    guess=st.sampled_from([0, 1, 4, 255]),
)
def test_what_comes_back_is_what_went_in(
    pieces: list[tuple[list[int], list[list[float]]]], guess: int
) -> None:
    times = [np.cumsum(filled(own, np.int64)) for own, _ in pieces]
    numbers = [np.stack([filled(c, np.float64) for c in own], axis=1) for _, own in pieces]
    metrics = numbers[0].shape[1]
    packed = narrow.narrow(times, numbers, [bytes([guess] * metrics)] * len(times))
    found, columns = widen(packed, range(metrics))
    assert (np.concatenate(found) == np.concatenate(times)).all()
    for place, column in enumerate(columns):
        before = np.ascontiguousarray(np.concatenate(numbers)[:, place])
        assert (np.concatenate(column).view(np.int64) == before.view(np.int64)).all()
    if metrics > 1:
        _, (last,) = widen(packed, [metrics - 1])
        assert np.concatenate(last).tobytes() == np.concatenate(columns[-1]).tobytes()


def filled(values: list[float] | list[int], kind: type) -> np.ndarray:
    """A piece of these, again and again."""
    return np.array(list(itertools.islice(itertools.cycle(values), narrow.ROWS)), dtype=kind)


def test_a_sensors_readings_take_a_quarter() -> None:
    buffer = Buffer(1, 3)
    for number, reading in enumerate(plain(0, 1_000)):
        buffer.add(number, reading)
    before = buffer.size
    pack([buffer], 10**9)
    assert buffer.rows == 1_000
    assert buffer.pieces[0].size < (narrow.ROWS * 32) / 3.5
    assert buffer.size < before / 2.5


def plain(first: int, last: int) -> list[Reading]:
    """One a second, as sensors send them."""
    return [
        Reading(
            "d",
            BEGIN + n * SECOND + n * 7_919_993 % 20_000_000,
            {"t": 21.5 + n % 30 / 10, "h": n % 7 / 100, "n": float(n)},
        )
        for n in range(first, last)
    ]


@pytest.fixture
def aim() -> int:
    """How much open buffers are to hold (bytes)."""
    return 8_000


@pytest.fixture
async def history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aim: int
) -> AsyncIterator[History]:
    monkeypatch.setattr(taking, "AIM", aim)
    found = History(tmp_path, MONTH)
    yield found
    await found.close()


def fill(history: History, count: int) -> None:
    """So many readings of `plain`, fifty at a time."""
    for first in range(0, count, 50):
        history.add(first + 1, plain(first, first + 50))


async def values(history: History, metric: str, device: str = "d") -> list[object]:
    return [value for _, value in await history.query(device, metric, BEGIN, END)]


async def test_questions_see_packed_samples(history: History) -> None:
    fill(history, 900)
    (stream,) = history.streams()
    buffers = stream.pending()
    assert any(buffer.pieces for buffer in buffers)
    rows = plain(0, 900)
    held = [samples for _, samples in history.pending(stream)]
    assert np.concatenate([s.times for s in held]).tolist() == [row.time for row in rows]
    assert await values(history, "h") == [row.values["h"] for row in rows]
    assert await values(history, "n") == [row.values["n"] for row in rows]
    found = await history.series("d")
    assert {s["metric"]: (s["count"], s["first"], s["last"]) for s in found} == dict.fromkeys(
        ("t", "h", "n"), (900, rows[0].time // 1_000_000, rows[-1].time // 1_000_000)
    )
    await history.flush()
    assert await values(history, "t") == [row.values["t"] for row in rows]


async def test_another_kind_of_value_may_follow(history: History) -> None:
    fill(history, 500)
    (stream,) = history.streams()
    assert stream.open is not None
    assert stream.open.pieces
    odd = Reading("d", BEGIN + 500 * SECOND, {"t": "broken", "h": True, "n": 500.0})
    history.add(501, [odd])
    history.add(502, plain(501, 502))
    expected: list[object] = [row.values["t"] for row in plain(0, 502)]
    expected[500] = "broken"
    assert await values(history, "t") == expected
    await history.flush()
    assert await values(history, "t") == expected


async def test_times_are_put_right_in_what_is_packed(history: History) -> None:
    """Also where only some of them were marked."""
    base, marked = 99 * SECOND, Flag.UNSYNCED.value
    history.times = times = Times()
    times.boots["boot"] = Boot("boot", 0, 0)
    for first in range(0, 800, 40):
        rows = [
            Reading("d", BEGIN + n * SECOND, {"n": float(n)})
            if n % 3 == 1
            else Reading("d", base + n * SECOND, {"n": float(n)}, marked)
            for n in range(first, first + 40)
        ]
        history.add(first + 1, rows, ("boot", base))
    assert any(b.pieces for b in history.streams()[0].pending())
    times.boots["boot"].note(BEGIN)
    assert await values(history, "n") == [float(n) for n in range(800)]
    (series,) = await history.series("d")
    assert (series["first"], series["last"]) == (
        BEGIN // 1_000_000, (BEGIN + 799 * SECOND) // 1_000_000,
    )  # fmt: skip


@pytest.mark.parametrize("aim", [160_000])  # 8 kB a device
async def test_many_devices_stay_below_the_aim_with_large_chunks(
    history: History, aim: int
) -> None:
    sequence, most = 1, 0
    for number in range(2_200):
        rows = [
            Reading(f"d{device}", row.time, row.values)
            for row in plain(number, number + 1)
            for device in range(20)
        ]
        history.add(sequence, rows)
        sequence += len(rows)
        most = max(most, history._held())
        await asyncio.sleep(0.001)
    assert most < 1.3 * aim
    found = await history.database.read(lambda c: c.execute("SELECT count FROM chunk").fetchall())
    assert found
    assert min(count for (count,) in found) >= 256
    await history.flush()
    assert await values(history, "n", "d7") == [float(n) for n in range(2_200)]
