"""Where a value is going, and when it will be there."""

import random

import pytest

from gateway.stages.health import Trend


def test_a_line_is_found_and_followed() -> None:
    trend = Trend(300)
    for second in range(200):
        trend.add(second, 1000 - 2 * second)
    slope, sure = trend.line()
    assert slope == pytest.approx(-2)
    assert sure
    assert trend.word == "falling"
    assert trend.reaches(0) == pytest.approx(300, abs=5)
    assert trend.reaches(2000) is None


def test_noise_goes_nowhere() -> None:
    noise = random.Random(3)
    wrong = 0
    for _ in range(100):
        trend = Trend(1800)
        for second in range(0, 1800, 5):
            trend.add(second, 10_000 + noise.gauss(0, 100))
        wrong += trend.reaches(0) is not None
    assert wrong <= 2


def test_what_lies_before_the_window_is_forgotten() -> None:
    trend = Trend(60)
    trend.add(0, 20)
    for second in range(1, 200):
        trend.add(second, 100)
    assert trend.flat
    assert trend.word == "steady"
    assert trend.span <= 60


def test_memory_is_bounded() -> None:
    trend = Trend(300)
    for step in range(100_000):
        trend.add(step / 100, step % 7)
    assert len(trend._samples) <= 62


def test_one_moment_has_no_slope() -> None:
    trend = Trend(300)
    assert trend.line() == (0.0, False)
    trend.add(5, 1)
    trend.add(5, 9)
    assert trend.line() == (0.0, False)
    assert trend.reaches(100) is None
