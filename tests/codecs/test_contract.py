"""What holds for every codec, whatever it is sent."""

import math
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import registry
from gateway.codecs.reports import LATEST, MAX_METRICS, MAX_NAME, MAX_REPORTS, MAX_TEXT
from gateway.core.errors import DecodeError
from tests.codecs.cases import CASES, Case
from tests.support.faults import FULL, runs

LONGEST = 0.05
"""CPU time that a payload may take (s)."""
REASONS = frozenset((
    "malformed", "empty", "time", "too_deep", "too_many", "too_long", "too_slow", "metric", "text",
    "number", "no_match", "columns", "record", "version", "length", "device", "topic", "alias",
    "datatype", "checksum",
))  # fmt: skip

edits = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 3), st.sampled_from((b"", b"\0", b"\xff", b"9", b'"'))
        | st.binary(max_size=4),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def edited(payload: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """A payload with some bytes replaced: place, how many, by which."""
    for place, count, new in changes:
        at = place % (len(payload) + 1)
        payload = payload[:at] + new + payload[at + count :]
    return payload


def varied(payload: bytes, count: int) -> Iterator[bytes]:
    """A payload and others like it, `count` in all; always the same ones."""
    yield payload
    chance = random.Random(payload)
    for _ in range(count - 1):
        changes = [
            (chance.randrange(400), chance.randrange(4), chance.randbytes(chance.randrange(5)))
            for _ in range(chance.randint(1, 4))
        ]
        yield edited(payload, changes)


def sound(reports: list[tuple[int | None, dict[str, Any]]]) -> None:
    """Whether a codec may give this."""
    assert len(reports) <= MAX_REPORTS
    for when, values in reports:
        assert when is None or (type(when) is int and 0 <= when < LATEST)
        assert 0 < len(values) <= MAX_METRICS
        for name, value in values.items():
            assert type(name) is str
            assert 0 < len(name) <= MAX_NAME
            assert name.isprintable()
            assert type(value) in (float, int, bool, str)
            assert not isinstance(value, float) or math.isfinite(value)
            assert type(value) is not int or -(2**63) <= value < 2**63
            assert not isinstance(value, str) or len(value) <= MAX_TEXT


def tried(case: Case, payload: bytes) -> float:
    """Decode it; how long that took (s of CPU)."""
    codec = case.build()
    began = time.thread_time()
    reports, reason = None, ""
    try:
        reports = case.reports(codec, payload)
    except DecodeError as error:
        reason = error.reason
    took = time.thread_time() - began
    if reports is None:
        assert reason in REASONS
    else:
        sound(reports)
    return took


def test_every_codec_is_tried() -> None:
    assert {case.type for case in CASES} == set(registry.known(registry.CODECS))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_good_is_taken(case: Case) -> None:
    codec = case.build()
    for payload in case.payloads:
        reports = case.reports(codec, payload)
        assert reports
        sound(reports)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_but_a_decode_error_comes_of_anything_and_soon(case: Case) -> None:
    @settings(
        max_examples=runs(500, 5_000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=64) | st.builds(edited, st.sampled_from(case.payloads), edits))
    @example(b"")
    def holds(payload: bytes) -> None:
        for variation in varied(payload, 20 if FULL else 1):
            # Twice: a collection of garbage may come in between.
            quick = tried(case, variation) < LONGEST or tried(case, variation) < LONGEST
            assert quick, variation

    holds()
