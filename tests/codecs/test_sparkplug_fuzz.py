"""Sparkplug B, whatever is sent in whatever order: births, data, deaths, any topic."""

import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.codecs.sparkplug import SparkplugCodec, SparkplugSettings
from gateway.core.errors import DecodeError
from tests.codecs.cases import NOW, sparkplug
from tests.codecs.test_contract import LONGEST, REASONS, edited, edits, sound
from tests.support.faults import runs

BIRTH = sparkplug(
    0, {"name": "bdSeq", "datatype": 8, "long_value": 3},
    {"name": "level", "alias": 1, "datatype": 9, "float_value": 1.5, "unit": "m"},
    {"name": "label", "alias": 2, "datatype": 12, "string_value": "ab"},
)  # fmt: skip
GOOD = (
    BIRTH, b"",
    sparkplug(1, {"alias": 1, "float_value": 2.5}), sparkplug(2, {"alias": 2, "int_value": 7}),
    sparkplug(None, {"name": "bdSeq", "datatype": 8, "long_value": 3}), sparkplug(255),
    sparkplug(9, {"name": "Node Control/Rebirth", "datatype": 11, "boolean_value": True}),
)  # fmt: skip
TOPICS = st.sampled_from(
    [f"spBv1.0/G/{kind}/E" for kind in ("NBIRTH", "NDATA", "NDEATH", "NCMD", "DDATA", "X")]
    + [f"spBv1.0/G/{kind}/E/D" for kind in ("DBIRTH", "DDATA", "DDEATH", "DCMD", "NDATA", "")]
    + ["spBv1.0/STATE/me", "spBv1.0", "spBv1.0/G//E", "spBv1.0/G/NDATA/"]
) | st.text(max_size=20)  # fmt: skip
PAYLOADS = st.sampled_from(GOOD) | st.builds(edited, st.sampled_from(GOOD), edits) | st.binary(
    max_size=40
)  # fmt: skip


def tried(codec: SparkplugCodec, topic: str, payload: bytes, received: int) -> float:
    """Decode it; how long that took (s of CPU)."""
    began = time.thread_time()
    found, reason = None, ""
    try:
        found = list(codec.addressed(topic, "E", payload, received))
    except DecodeError as error:
        reason = error.reason
    took = time.thread_time() - began
    if found is None:
        assert reason in REASONS, reason
    else:
        sound([(when, values) for _, when, values in found])
    return took


@pytest.mark.timeout(900)
@settings(
    max_examples=runs(200, 20_000), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(st.tuples(TOPICS, PAYLOADS, st.integers(0, 3)), min_size=5, max_size=10))
@example([("spBv1.0/G/NBIRTH/E", BIRTH, 0)] * 5)
def test_nothing_but_a_decode_error_comes_of_any_order(
    messages: list[tuple[str, bytes, int]],
) -> None:
    codec = SparkplugSettings().build()
    codec.ask = lambda topic, payload: None
    codec.addressed("spBv1.0/G/NBIRTH/E", "E", BIRTH, NOW)
    for topic, payload, late in messages:
        # Twice: a collection of garbage may come in between.
        quick = any(tried(codec, topic, payload, NOW + late) < LONGEST for _ in range(2))
        assert quick, (topic, payload)
    assert all(type(unit) is str for unit in codec.units("E").values())
