"""Commands as they come over MQTT: whatever is sent, they are taken or refused, and soon."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.core.errors import Rejected
from gateway.runtime.command_ear import read
from gateway.runtime.command_targets import Asked, checked, expiry
from tests.support.faults import runs

NOW = 1_763_680_000_000_000_000
TEXTS = st.text(max_size=12) | st.sampled_from(("30s", "5m", "99999999999999999999d", "1e9s"))
NUMBERS = st.integers() | st.floats() | st.integers(0, 2**54)
ORDERS = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS, "expires": TEXTS | NUMBERS | st.none(), "else": st.none(),
        "args": st.dictionaries(st.text(max_size=4), NUMBERS | TEXTS | st.lists(NUMBERS)),
    },
).map(lambda order: json.dumps(order).encode())  # fmt: skip


def taken(payload: bytes) -> bool:
    """Whether it is a command."""
    try:
        order = read(payload)
        ends = expiry(order.expires, NOW)
        command = checked(Asked("a", "set", order.args, order.id, ends, "mqtt"), NOW)
    except Rejected:
        return False
    assert 0 <= command.expires < 2**63
    return True


@settings(
    max_examples=runs(500, 100_000), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@pytest.mark.timeout(1_200)
@given(ORDERS | st.binary(max_size=40))
@example(b'{"expires": 9007199254740000}')
@example(b'{"expires": "99999999999999999999d"}')
@example(b'{"args":{"a":' + b"[" * 60_000)
def test_a_command_is_taken_or_refused(payload: bytes) -> None:
    for _ in range(2):
        began = time.thread_time()
        taken(payload)
        if time.thread_time() - began < 0.05:
            return
    raise AssertionError("it takes too long")


@pytest.mark.parametrize(
    ("expires", "good"),
    [
        ("30s", True), (1_763_680_100_000, True), (None, True), (9_214_646_399_999, True),
        (9_214_646_400_000, False), ("90000d", False), (-1, False), ("soon", False),
    ],
)  # fmt: skip
def test_a_command_ends_before_2262(expires: Any, good: bool) -> None:
    assert taken(json.dumps({"expires": expires}).encode()) is good
