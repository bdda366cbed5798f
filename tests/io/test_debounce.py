"""Debouncing against what it says in words: a level counts once it has lasted."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.io.gpio.debounce import Debounce

GAPS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def lasting(times: list[int], window: int) -> list[bool]:
    """The levels that lasted, each once, beginning with low."""
    found, level = [False], False
    for begin, end in pairwise([*times, times[-1] + 1_000]):
        level = not level
        if end - begin >= window and found[-1] != level:
            found.append(level)
    return found[1:]


@given(GAPS, st.integers(0, 30), st.booleans())
def test_levels_that_last_and_no_others(gaps: list[int], window: int, timer: bool) -> None:
    times, now = [], 0
    for gap in gaps:
        now += gap
        times.append(now)
    debounce, told, level = Debounce(False, float(window)), [], False
    for at in times:
        # With a timer that fires in between, or without: the same comes of it.
        if timer and debounce.due is not None and debounce.due <= at:
            told += list(debounce.settle(debounce.due))
        level = not level
        told += list(debounce.feed(float(at), level))
    told += list(debounce.settle(times[-1] + 1_000.0))
    assert [level for _, level in told] == lasting(times, window)
    assert debounce.due is None
    assert [at for at, _ in told] == sorted(at for at, _ in told)
    assert all(at in times for at, _ in told)


def test_the_time_is_that_of_the_first_change() -> None:
    debounce = Debounce(True, 10.0)
    for at, level in ((100, False), (101, True), (103, False), (104, True), (105, False)):
        assert not list(debounce.feed(float(at), level))
    assert debounce.due == 115.0
    assert not list(debounce.settle(114.0))
    assert list(debounce.settle(115.0)) == [(100.0, False)]


def test_noise_before_does_not_count() -> None:
    debounce = Debounce(True, 10.0)
    for at, level in ((100, False), (101, True), (200, False)):
        assert not list(debounce.feed(float(at), level))
    assert list(debounce.settle(210.0)) == [(200.0, False)]
