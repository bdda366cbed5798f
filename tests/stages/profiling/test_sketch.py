"""Sketches: near to what sorting tells, whatever the distribution; merged, in little memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stages.profiling.sketch import ERROR, LEAST, MOST, Sketch, Stretch, merged
from tests.support.faults import seeded

SHARES = (0.5, 0.95, 0.99, 0.999)
durations = st.lists(st.floats(LEAST, MOST), min_size=1, max_size=300)


def sketch_of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def exact(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


@given(durations)
def test_each_quantile_is_within_its_error(values: list[float]) -> None:
    found = sketch_of(values).quantiles(*SHARES)
    for share, quantile in zip(SHARES, found, strict=True):
        assert quantile == pytest.approx(exact(values, share), rel=ERROR + 1e-9)


@given(st.lists(durations, min_size=1, max_size=5))
def test_merged_it_is_as_if_all_had_been_counted_in_one(parts: list[list[float]]) -> None:
    stretches = [Stretch(sketch_of(part), 5.0, len(part)) for part in parts]
    sketch, seconds, records = merged(stretches)
    whole = [value for part in parts for value in part]
    assert sketch.buckets == sketch_of(whole).buckets
    assert sketch.count == records == len(whole)
    assert sketch.longest == max(whole)
    assert sketch.total == pytest.approx(sum(whole))
    assert seconds == 5.0 * len(parts)


@pytest.mark.parametrize("odd", [0.0, -1.0, 1e-12, 1e12, math.inf])
def test_what_is_no_duration_costs_neither_an_error_nor_memory(odd: float) -> None:
    sketch = sketch_of([0.01] * 99)
    sketch.add(odd)
    assert sketch.quantiles(0.5)[0] == pytest.approx(0.01, rel=ERROR)
    assert len(sketch.buckets) == 2


def test_nothing_was_counted() -> None:
    assert Sketch().quantiles(*SHARES) == [0.0] * 4


def test_memory_is_bounded_and_small() -> None:
    chance = seeded()
    sketch = sketch_of([10 ** chance.uniform(-9, 9) for _ in range(100_000)])
    stretch = Stretch(sketch, 5.0, 100_000)
    assert len(sketch.buckets) < 1_300
    assert len(stretch.places) * (stretch.places.itemsize + stretch.counts.itemsize) < 8_000
