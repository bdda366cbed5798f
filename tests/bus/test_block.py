"""Blocks come back as they were written, and nothing damaged is taken for one."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.block import (
    HEADER_SIZE,
    Block,
    CorruptBlockError,
    decode,
    encode,
    longer,
    read_header,
)
from gateway.bus.records import CursorRecord, Meta, RepeatKeys, Stamp, merged, unmerged
from gateway.core.contracts import Reading

names = st.text(min_size=1, max_size=12)
values = st.one_of(
    st.floats(allow_nan=False), st.integers(-(2**62), 2**62), st.booleans(), st.text(max_size=20)
)
readings = st.lists(
    st.builds(
        Reading,
        device=names,
        time=st.integers(-(2**62), 2**62 - 1),
        values=st.dictionaries(names, values, max_size=4),
        flags=st.integers(0, 7),
    ),
    max_size=30,
)
metas = st.builds(
    Meta,
    stamp=st.builds(Stamp, st.text(max_size=8), st.integers(0, 2**60), st.integers(0, 2**60)),
    keys=st.lists(
        st.builds(RepeatKeys, names, st.binary(max_size=8), st.binary(max_size=8)), max_size=3
    ),
    cursors=st.dictionaries(
        names, st.builds(CursorRecord, st.lists(st.integers(0, 2**40), min_size=1)), max_size=3
    ),
)


@given(readings, metas, st.integers(1, 2**40), st.integers(1, 2**31))
def test_what_was_written_comes_back(
    batch: list[Reading], meta: Meta, first: int, segment: int
) -> None:
    found = decode(encode(Block(first, batch, meta), segment), 0, segment)
    assert list(found.readings) == batch
    assert (found.first, found.meta) == (first, meta)
    kinds = [[type(v) for v in r.values.values()] for r in batch]
    assert [[type(v) for v in r.values.values()] for r in found.readings] == kinds


@given(readings, metas, st.integers(1, 5_000))
def test_a_block_may_be_longer_than_what_it_says(batch: list[Reading], meta: Meta, by: int) -> None:
    encoded = encode(Block(7, batch, meta), 3)
    padded = longer(encoded, by, 3)
    assert len(padded) == len(encoded) + by == HEADER_SIZE + read_header(padded, 0).length
    found = decode(padded, 0, 3)
    assert (found.first, list(found.readings), found.meta) == (7, batch, meta)
    with pytest.raises(CorruptBlockError):
        decode(padded[:-1] + b"x", 0, 3)


@given(readings, st.data())
def test_a_changed_byte_is_noticed(batch: list[Reading], data: st.DataObject) -> None:
    encoded = bytearray(encode(Block(5, batch), 9))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptBlockError):
        decode(bytes(encoded), 0, 9)


@given(readings, st.data())
def test_a_torn_block_is_noticed(batch: list[Reading], data: st.DataObject) -> None:
    encoded = encode(Block(5, batch), 9)
    with pytest.raises(CorruptBlockError):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))], 0, 9)


def test_what_can_be_told_without_it_takes_no_room() -> None:
    """Places of readings that are all alike, packet ids that a broker counts up."""
    alike = [Reading("a", n * 10**9, {"x": 1.0}) for n in range(1_000)]
    others = [Reading("a", n * 10**9, {"xy"[n % 2]: 1.0}) for n in range(1_000)]
    assert len(encode(Block(1, alike), 1)) < 200 < len(encode(Block(1, others), 1))
    ids = array("H", [n % 65_536 for n in range(65_000, 66_000)]).tobytes()
    keys = RepeatKeys("mqtt", ids, b"")
    (packed,) = merged([keys])
    assert unmerged(packed) == keys
    assert len(encode(Block(1, [], Meta(keys=[packed])), 1)) < 150
    assert len(encode(Block(1, [], Meta(keys=[keys])), 1)) > 1_000


def test_a_block_of_another_segment_is_refused() -> None:
    encoded = encode(Block(5, [Reading("a", 1, {"x": 1.0})]), 9)
    with pytest.raises(CorruptBlockError):
        decode(encoded, 0, 10)
