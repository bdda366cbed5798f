"""What the profiler says of what it was told: windows, shares, levels, trends, limits."""

import asyncio
import threading

import pytest
from prometheus_client import CollectorRegistry

from gateway.core.profiling_settings import ProfilingSettings
from gateway.stages.profiling import Profiler
from gateway.stages.profiling.bottleneck import Cause, Limit
from gateway.stages.profiling.levels import heading, slope
from gateway.stages.profiling.windows import MINUTE, SHORT, Windows


class Clock:
    """A clock that is set by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def windows(clock: Clock) -> Windows:
    return Windows(clock)


def run(windows: Windows, clock: Clock, seconds: float, took: float, every: float = 1.0) -> None:
    """`took` s for 10 records, time and again."""
    until = clock.now + seconds
    while clock.now < until - 1e-9:
        clock.now += every
        windows.add(took, 10)


def profiler(**settings: object) -> Profiler:
    return Profiler(CollectorRegistry(), ProfilingSettings.model_validate(settings))


def test_the_last_minute_is_all_that_its_window_knows(windows: Windows, clock: Clock) -> None:
    run(windows, clock, 300, took=5.0)
    run(windows, clock, MINUTE + SHORT, took=0.1)
    found = windows.last()
    assert found is not None
    assert found.longest == 0.1
    assert found.rate == pytest.approx(10.0, rel=0.1)
    assert found.load == pytest.approx(0.1, rel=0.1)


def test_longer_windows_know_what_came_before(windows: Windows, clock: Clock) -> None:
    run(windows, clock, 30 * MINUTE, took=5.0)
    run(windows, clock, 10 * MINUTE, took=0.1)
    quarter, hour = windows.last(15 * MINUTE), windows.last(60 * MINUTE)
    assert quarter is not None
    assert hour is not None
    assert quarter.longest == hour.longest == 5.0
    assert quarter.count == pytest.approx(15 * 60, abs=60)
    assert hour.count == 40 * 60
    run(windows, clock, 61 * MINUTE, took=0.1)
    hour = windows.last(60 * MINUTE)
    assert hour is not None
    assert hour.longest == 0.1


def test_a_stage_that_was_quiet_for_long_begins_anew(windows: Windows, clock: Clock) -> None:
    run(windows, clock, MINUTE, took=1.0)
    clock.now += 7 * 86_400
    assert windows.last() is None
    assert windows.last(60 * MINUTE) is None
    windows.add(0.5, 1)
    found = windows.last()
    assert found is not None
    assert (found.count, windows.records) == (1, 601)


def test_counted_from_many_threads_nothing_is_missing() -> None:
    timer = profiler()

    def work() -> None:
        for _ in range(5_000):
            timer.observe("read", 0.001, 2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timer.snapshot()["read"].count == 40_000


async def test_a_context_and_a_decorator_of_its_own() -> None:
    timer = profiler()

    @timer.profiled("ask")
    async def ask() -> int:
        with timer.measure("parse", records=3):
            await asyncio.sleep(0.01)
        return 1

    assert await ask() == 1
    found = timer.snapshot()
    assert found["ask"].longest >= found["parse"].longest >= 0.009
    assert timer.summary()["stages"]["parse"]["records"] == 3


def test_the_busiest_stage_is_named_where_nothing_limits() -> None:
    timer = profiler()
    timer.observe("receive", 9.0, 10)
    timer.observe("decode", 0.1, 10)
    timer.observe("deliver:home", 0.3, 10)
    found = timer.summary()
    assert found["bottleneck"] == "deliver:home"
    assert found["limits"] == []
    assert "nothing limits" in found["why"]
    shares = {name: stage["share"] for name, stage in found["stages"].items()}
    assert shares == pytest.approx({"receive": 0.0, "decode": 0.25, "deliver:home": 0.75})
    for key in ("rate", "p50", "p95", "p99", "p999"):
        assert found["stages"]["decode"][key] > 0


def test_what_limits_comes_first() -> None:
    timer = profiler()
    timer.observe("decode", 0.1)
    timer.observe("journal", 0.01)
    timer.limits = [Limit(Cause("journal", "disk", "waits for the disk"), 1.0, 2.0, 3.0)]
    found = timer.summary()
    assert (found["bottleneck"], found["why"]) == ("journal", "waits for the disk")
    assert found["limits"][0] == {
        "stage": "journal", "cause": "disk", "text": "waits for the disk", "since": 2000,
    }  # fmt: skip
    assert found["stages"]["journal"]["level"] == "WARNING"
    assert found["stages"]["decode"]["level"] == "EXCELLENT"


def test_levels_follow_the_limits_that_are_set() -> None:
    timer = profiler(limits={"journal": {"warning": "100ms", "critical": "1s"}})
    for took, level in ((0.05, "EXCELLENT"), (0.2, "WARNING"), (2.0, "CRITICAL")):
        timer.observe("journal", took)
        assert timer.summary()["stages"]["journal"]["level"] == level


def test_a_window_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="no window"):
        profiler().summary("2m")


def test_turned_off_it_keeps_nothing() -> None:
    timer = profiler(enabled=False)
    timer.observe("decode", 0.1)
    assert timer.summary()["stages"] == {}


def test_names_without_end_cost_no_memory() -> None:
    timer = profiler()
    for number in range(1_000):
        timer.observe(f"driver:{number}", 0.1)
    stages = timer.summary()["stages"]
    assert len(stages) == 201
    assert timer.snapshot()["other"].count == 800


def test_trends() -> None:
    assert slope([(0, 1.0), (5, 2.0)]) is None
    assert slope([(x, 3.0 + 2 * x) for x in range(5)]) == pytest.approx(2.0)
    assert heading([(x * 5, 0.1 + 0.01 * x) for x in range(12)]) == "rising"
    assert heading([(x * 5, 0.3 - 0.01 * x) for x in range(12)]) == "falling"
    assert heading([(x * 5, 0.1 + 0.001 * (x % 2)) for x in range(12)]) == "steady"
    assert heading([(x * 5, 0.0) for x in range(12)]) == "steady"
