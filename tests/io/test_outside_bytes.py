"""Parsers of what comes from outside and is no device's payload, whatever they are sent: nothing
but what their callers take, and soon. Those of frames are in test_framing and test_modbus_exchange,
those of chips in chips/test_decoding."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.io.coap.groups import links
from gateway.io.modbus.plan import items
from gateway.io.mqtt.splitter import Frames, MalformedPacketError, Splitter
from tests.devices.test_modbus_map import a_map, memory
from tests.support.faults import runs

LONGEST = 0.05
"""CPU time that one may take (s)."""
LIMIT = 200
anything = settings(
    max_examples=runs(500, 100_000), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def soon(work: Callable[[], Any]) -> Any:
    """What it gives, within the time; tried again, for a collection of garbage may come between."""
    for _ in range(2):
        began = time.thread_time()
        found = work()
        if time.thread_time() - began < LONGEST:
            return found
    raise AssertionError("it takes too long")


# -- CoAP: what a server says it has (RFC 6690) ----------------------------------------------------

LINK = st.sampled_from(
    ["</a>", "</sensors/t>", ";", ",", "rt=", '"', '"temperature-c"', "\\", "<", ">", "if", "=",
     "ct=40", "obs", " ", "title*=UTF-8''%c3", "http://", "..", "\0", "é"]
)  # fmt: skip


def read_links(payload: bytes) -> bool:
    """Whether it is a list of links."""
    try:
        found = links(payload)
    except ValueError:
        return False
    assert len(found) <= 100
    assert all(type(href) is str and type(kind) is str for href, kind in found.items())
    return True


@anything
@given(st.binary(max_size=60) | st.lists(LINK, max_size=30).map(lambda all: "".join(all).encode()))
@example(b"</a>;rt=x,</b>;rt=y")
@example(b"<" * 60_000)
@example(b"</a>" + b";a" * 60_000)
@example(b"</a>," * 60_000)
@example(b'</a>;rt="' + b'\\"' * 60_000)
def test_nothing_but_a_value_error_comes_of_links(payload: bytes) -> None:
    soon(lambda: read_links(payload))


@pytest.mark.parametrize("payload", [b"</a>" + b";a" * 8_000, b"</a>," * 3_200 + b"</b>"])
def test_a_list_of_links_as_long_as_it_may_be_is_read_soon(payload: bytes) -> None:
    assert soon(lambda: read_links(payload))


def test_a_longer_list_of_links_is_refused() -> None:
    with pytest.raises(ValueError, match="link format of 20000 bytes"):
        links(b"</a>," * 4_000)


# -- MQTT: packets ---------------------------------------------------------------------------------

PACKET = st.builds(
    lambda head, length, body: bytes((head, length)) + body,
    st.sampled_from((0x30, 0x32, 0x34, 0x36, 0x3B, 0x40, 0x90, 0xD0, 0xFF, 0x00)),
    st.integers(0, 255),
    st.binary(max_size=40),
)


@anything
@given(st.lists(PACKET | st.binary(max_size=60), max_size=8), st.booleans())
@example([b"\x30\x00"], False)
@example([b"\x30\xff\xff\xff\xff\x01"], True)
@example([b"\x30\xff\xff\xff\x7f" + bytes(131_000)], True)
def test_nothing_but_a_malformed_packet_comes_of_a_stream(chunks: list[bytes], new: bool) -> None:
    def split() -> None:
        splitter, frames = Splitter(LIMIT, new, lambda head, body: True), Frames()
        try:
            for chunk in chunks:
                assert splitter.feed(chunk, frames)
        except (MalformedPacketError, IndexError):  # a packet that ends within its own header
            return
        assert all(len(payload) <= LIMIT + 1 for payload in frames.payloads)
        assert len(frames.topics) == len(frames.payloads) == len(frames.packet_ids)

    soon(split)


# -- Modbus: what is in registers ------------------------------------------------------------------

REGISTERS: list[dict[str, Any]] = [
    *({"type": kind} for kind in ("int16", "uint16", "int32", "uint32", "int64", "uint64")),
    *({"type": kind, "word_order": "little", "scale": 0.1} for kind in ("float32", "float64")),
    {"type": "string", "length": 4},
    {"type": "string", "length": 3, "byte_order": "little"},
    {"type": "bits", "bits": {0: "a", 15: "b"}}, {"type": "uint16", "names": {0: "off"}},
    {"type": "int32", "scale": 1e-3, "offset": -40, "invalid": [-1]},
    {"type": "int16", "exponent": 9}, {"type": "int64", "exponent": 9},
]  # fmt: skip


@pytest.mark.parametrize("register", REGISTERS, ids=str)
def test_any_registers_are_values_or_none(register: dict[str, Any]) -> None:
    found = a_map({"name": "x", "address": 0, **register})
    (item,) = items(found, found.registers)

    @settings(anything, max_examples=runs(100, 10_000))  # of 15
    @given(st.lists(st.integers(0, 0xFFFF) | st.sampled_from((0x7FC0, 0x7F80, 0x8000)), min_size=10,
                    max_size=10))  # fmt: skip
    def holds(words: list[int]) -> None:
        for value in soon(lambda: item.decode(memory("holding", 0, *words))).values():
            assert type(value) in (float, int, str, bool)
            assert not isinstance(value, float) or math.isfinite(value)

    holds()
