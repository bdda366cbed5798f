"""A device is silent when it is so by its own rhythm."""

import itertools
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.store.devices import Device, Devices
from gateway.store.rhythm import Rhythm

DAY = 86_400.0


class Listening:
    """Feeds a device's messages at times of the test's own and counts false alarms."""

    def __init__(self, devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = devices.id_of("pump", "mqtt")
        self.alarms: list[float] = []
        self.devices = devices
        self._now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    @property
    def device(self) -> Device:
        return self.devices.get(self.name)

    @property
    def limit(self) -> float:
        return max(60.0, self.device.silent_after(5.0, 600.0))

    def hear(self, times: Iterable[float]) -> None:
        for moment in times:
            age = 1000.0 + moment - self.device.heard
            if self.device.count and age > self.limit:
                self.alarms.append(moment)
            self._now = 1000.0 + moment
            self.devices.seen([Reading(self.name, 1, {"a": 1.0})])


def hourly(opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch) -> Listening:
    """A device that was heard each hour in a run that has not ended yet."""
    found = Listening(Devices(opened()), monkeypatch)
    found.hear(evenly(3600, 9 * 3600))
    return found


@pytest.fixture
def listening(opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch) -> Listening:
    return Listening(Devices(opened()), monkeypatch)


def evenly(interval: float, until: float, begin: float = 0.0) -> Iterator[float]:
    return (begin + interval * n for n in range(int((until - begin) / interval)))


@pytest.mark.parametrize(
    ("interval", "limit"), [(0.5, 60), (5, 60), (20, 100), (30, 150), (300, 1500), (3600, 18_000)]
)
def test_an_even_device_misses_five(listening: Listening, interval: float, limit: float) -> None:
    listening.hear(evenly(interval, 50 * interval + 100))
    assert listening.limit == pytest.approx(limit, rel=0.01)
    assert listening.alarms == ([interval] if interval > 600 else [])  # the first time only


def test_an_uneven_device_is_not_silent_by_chance(listening: Listening) -> None:
    noise = random.Random(5)
    times = itertools.accumulate(noise.expovariate(1 / 30) for _ in range(20_000))
    listening.hear(times)
    assert len(listening.alarms) <= 1
    assert listening.limit < 600


def test_a_device_that_sends_bursts_pauses_between_them(listening: Listening) -> None:
    bursts = [600.0 * n + 0.05 * k for n in range(50) for k in range(20)]
    mean = listening.device.interval
    listening.hear(bursts)
    assert listening.alarms == []
    mean = listening.device.interval
    assert 5 * mean < 300 < 600 < listening.limit  # by its mean it was silent in every pause


def test_a_device_that_sleeps_at_night_is_believed_from_the_third_one_on(
    listening: Listening,
) -> None:
    days = 14
    listening.hear(t for n in range(days) for t in evenly(10, (n + 2 / 3) * DAY, n * DAY))
    assert [round(moment / DAY) for moment in listening.alarms] == [1, 2]
    assert 8 * 3600 < listening.limit < 24 * 3600


def test_one_outage_teaches_nothing(listening: Listening) -> None:
    listening.hear(evenly(10, DAY))
    before = listening.limit
    listening.hear(evenly(10, 2 * DAY, DAY + 7200))
    assert len(listening.alarms) == 1
    assert listening.limit == before


def test_rare_outages_of_one_length_teach_nothing(listening: Listening) -> None:
    for week in range(4):
        listening.hear(evenly(10, (week * 7 + 7) * DAY - 3600, week * 7 * DAY))
    assert len(listening.alarms) == 3
    assert listening.limit == 60


def test_a_device_that_was_met_just_now_is_given_time(listening: Listening) -> None:
    listening.hear([0.0])
    assert listening.limit == 600
    listening.hear([1.0, 2.0])
    assert listening.limit == 600
    listening.hear(evenly(1, 70, 3))
    assert listening.limit == 60


def test_a_rhythm_is_small_however_long_it_lasts() -> None:
    rhythm = Rhythm(0.0)

    def size() -> int:
        return sys.getsizeof(rhythm) + sum(
            sys.getsizeof(getattr(rhythm, name)) for name in ("_counts", "_times", "_since")
        )

    small = size()
    for n in range(1, 10_000):
        rhythm.gap(100.0 * n, 100.0 * n + 50)
    assert size() == small < 600


def test_a_gap_longer_than_any_is_no_error() -> None:
    rhythm = Rhythm(0.0)
    for n in range(1, 4):
        rhythm.gap((2 * n - 1) * 1e8, 2 * n * 1e8)
    assert rhythm.limit(6e8, 5.0) is not None


async def test_a_rhythm_is_kept_for_the_next_run(
    opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hourly(opened, monkeypatch)
    await before.devices.close()
    monkeypatch.undo()
    after = Listening(Devices(opened()), monkeypatch)
    assert before.limit == pytest.approx(18_000, rel=0.01)
    assert after.limit == pytest.approx(18_000, rel=0.01)
    after.hear(evenly(3600, 5 * 3600, 10.0))
    assert after.alarms == []
    assert after.limit == pytest.approx(18_000, rel=0.01)


async def test_a_rhythm_is_kept_however_much_a_device_says(
    opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hourly(opened, monkeypatch)
    before.device.last = {"text": 5_000 * "x"}
    await before.devices.close()
    monkeypatch.undo()
    after = Listening(Devices(opened()), monkeypatch)
    assert after.limit == pytest.approx(18_000, rel=0.01)
    assert (after.device.last, after.device.last_time) == ({}, 0)


async def test_the_time_that_nobody_listened_is_no_gap(
    opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Listening(Devices(opened()), monkeypatch)
    before.hear(evenly(20, 2 * 3600))
    await before.devices.close()
    monkeypatch.undo()
    for _ in range(3):
        after = Listening(Devices(opened()), monkeypatch)
        after.hear(evenly(20, 8 * 3600, 7 * 3600))
        await after.devices.close()
        monkeypatch.undo()
    assert after.limit == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("kept", ["", "[", "{}", "[[99,1,1]]", "[[1,-1,1]]", "[[1,1e99,1e999]]"])
async def test_a_rhythm_that_is_damaged_is_learnt_anew(
    opened: Callable[[], Database], monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    before = hourly(opened, monkeypatch)
    await before.devices.close()
    monkeypatch.undo()
    await before.devices.database.write(
        lambda c: c.execute("UPDATE device_last SET rhythm = ?", (kept,))
    )
    after = Listening(Devices(opened()), monkeypatch)
    assert after.device.rhythm is None
    assert after.device.last == {"a": 1.0}


def test_what_lay_long_back_counts_little_in_the_next_run() -> None:
    rhythm = Rhythm(0.0)
    for n in range(2):
        rhythm.gap(100.0 * n, 100.0 * n + 50)
    assert Rhythm.restored(rhythm.kept(200.0), 0.0).limit(0.0, 5.0) is not None
    assert Rhythm.restored(rhythm.kept(200.0), 90 * DAY).limit(0.0, 5.0) is None
