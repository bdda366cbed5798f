"""Packets are made as the specification has them, and answers are read however they are cut."""

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from gateway.io.mqtt import outgoing
from gateway.io.mqtt.mark import mark_of
from gateway.io.mqtt.publish import Packets, length, properties, text, topic_name
from gateway.io.mqtt.sending import PRIVATE_NAMES, SendingClient
from gateway.io.mqtt.splitter import FORWARDED, OWN, Frames, Splitter


class Socket:
    """Gives what a test put in, cut into pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv(self, size: int) -> bytes:
        if not self._pieces:
            raise BlockingIOError
        return self._pieces.pop(0)


puback = st.tuples(st.just(0x40), st.integers(1, 65_535), st.sampled_from([None, 0, 0x10, 0x87]))


@given(
    st.lists(st.one_of(puback, st.tuples(st.just(0xD0), st.just(0), st.none())), max_size=60),
    st.lists(st.integers(1, 40), max_size=20),
)
def test_any_chunking_gives_the_same_answers(
    packets: list[tuple[int, int, int | None]], cuts: list[int]
) -> None:
    stream, expected = b"", []
    for head, number, code in packets:
        if head == 0xD0:
            stream += b"\xd0\x00"
            expected.append(("alive", 0))
            continue
        body = number.to_bytes(2, "big") + (b"" if code is None else bytes((code,)))
        stream += bytes((head, len(body))) + body
        expected.append(("refused" if code == 0x87 else "taken", number))
    pieces, place = [], 0
    for cut in [*cuts, len(stream)]:
        if stream[place : place + cut]:
            pieces.append(stream[place : place + cut])
        place += cut
    client = SendingClient(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    found: list[tuple[str, int]] = []
    client.acknowledged = lambda ids: found.extend(("taken", each) for each in ids)
    client.refused = lambda number, code: found.append(("refused", number))
    client.alive = lambda: found.append(("alive", 0))
    client._sock = Socket(pieces)  # type: ignore[assignment]
    client.loop_read()
    client._sock = None
    assert found == expected


@given(st.binary(max_size=500), st.integers(1, 65_535), st.booleans(), st.booleans())
def test_what_is_made_is_read_again(
    payload: bytes, number: int, version_5: bool, retain: bool
) -> None:
    given_ = properties("application/json", 60, mark_of("gw")) if version_5 else b""
    packet = Packets(1, retain, given_).make(topic_name("a/ü"), number, payload)
    for own, mark in ((mark_of("gw"), OWN), (mark_of("gw2"), FORWARDED), (b"", FORWARDED)):
        frames = Frames()
        assert Splitter(1_000, version_5, lambda head, body: True, own).feed(packet, frames)
        assert (frames.topics, frames.payloads) == (["a/ü".encode()], [payload])
        assert frames.packet_ids == [number]
        assert frames.heads == [0x32 | retain | (mark if version_5 else 0)]


def test_a_mark_counts_in_the_properties_only() -> None:
    packet = Packets(1, False, properties("x", None, b"")).make(topic_name("a"), 1, mark_of("gw"))
    frames = Frames()
    Splitter(1_000, True, lambda head, body: True, mark_of("gw")).feed(packet, frames)
    assert frames.heads == [0x32]


@pytest.mark.parametrize("value", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths(value: int) -> None:
    packed = length(value)
    assert sum((byte & 127) << 7 * n for n, byte in enumerate(packed)) == value
    assert [byte >= 128 for byte in packed] == [True] * (len(packed) - 1) + [False]


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "x" * 65_536])
def test_topics_that_would_end_the_connection(topic: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be|MQTT allows"):
        topic_name(topic)
    assert text("ab") == b"\x00\x02ab"


def test_the_private_names_are_there() -> None:
    client = SendingClient(CallbackAPIVersion.VERSION2)
    for name in (*PRIVATE_NAMES, *outgoing.PRIVATE_NAMES):
        assert hasattr(client, name), f"paho has no {name} any more"
