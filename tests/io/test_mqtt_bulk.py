"""Packets come out of a stream as they went in, however the network cuts it."""

import socket
import threading

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.io.mqtt.bulk import PRIVATE_NAMES, BulkClient
from gateway.io.mqtt.splitter import Frames, MalformedPacketError, Splitter

LIMIT = 200


def length(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes((value & 127 | 128,))
        value >>= 7
    return found + bytes((value,))


def publish(topic: bytes, payload: bytes, packet_id: int, flags: int, properties: bytes) -> bytes:
    """A PUBLISH packet; packet_id 0: QoS 0; properties: with their length, or nothing (3.1.1)."""
    head = 0x30 | flags | (0x02 if packet_id else 0)
    body = len(topic).to_bytes(2, "big") + topic
    body += packet_id.to_bytes(2, "big") if packet_id else b""
    body += properties + payload
    return bytes((head,)) + length(len(body)) + body


publishes = st.tuples(
    st.just("publish"), st.binary(max_size=20), st.binary(max_size=400), st.integers(0, 65_535),
    st.sampled_from([0, 1, 8, 9]),
)  # fmt: skip
others = st.tuples(st.just("other"), st.sampled_from([0x40, 0xD0, 0x90]), st.binary(max_size=30))


@given(
    st.lists(st.one_of(publishes, others), max_size=20), st.lists(st.integers(1, 300)),
    st.booleans(),
)  # fmt: skip
def test_any_chunking_gives_the_same_packets(
    packets: list[tuple[object, ...]], cuts: list[int], version_5: bool
) -> None:
    stream, expected, rest = b"", [], []
    for packet in packets:
        if packet[0] == "publish":
            _, topic, payload, packet_id, flags = packet
            properties = length(3) + b"\x01\x00\x00" if version_5 else b""
            stream += publish(topic, payload, packet_id, flags, properties)  # type: ignore[arg-type]
            expected.append((topic, payload[: LIMIT + 1], packet_id, flags))  # type: ignore[index]
        else:
            _, head, body = packet
            stream += bytes((head,)) + length(len(body)) + body  # type: ignore[arg-type, operator]
            rest.append((head, body))
    seen: list[tuple[int, bytes]] = []
    splitter = Splitter(LIMIT, version_5, lambda head, body: seen.append((head, body)) or True)  # type: ignore[func-returns-value]
    frames = Frames()
    place = 0
    for cut in [*cuts, len(stream)]:
        assert splitter.feed(stream[place : place + cut], frames)
        place += cut
    found = zip(
        frames.topics, frames.payloads, frames.packet_ids, [h & 9 for h in frames.heads],
        strict=True,
    )  # fmt: skip
    assert list(found) == expected
    assert seen == rest


SIZES = [0, 1, 110, 111, 112, 113, 16_365, 16_366, 16_367, 20_000, 70_000]
USER_PROPERTY = b"\x26\x00\x01a\x00\x7a" + 122 * b"b"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("limit", [20, 100_000])
@pytest.mark.parametrize("step", [97, 1_000_000])
@pytest.mark.parametrize("properties", [b"", b"\x00", length(128) + USER_PROPERTY])
def test_lengths_of_any_width_are_read_between_short_ones(
    size: int, limit: int, properties: bytes, step: int
) -> None:
    payloads = [b"first", size * b"x", size * b"y", b"last"]
    splitter, frames = Splitter(limit, bool(properties), lambda head, body: True), Frames()
    packets = [publish(b"a/topic", p, n, 0, properties) for n, p in enumerate(payloads, 1)]
    stream = b"".join(packets)
    for place in range(0, len(stream), step):
        assert splitter.feed(stream[place : place + step], frames)
    assert frames.payloads == [payload[: limit + 1] for payload in payloads]
    assert frames.packet_ids == [1, 2, 3, 4]
    assert (frames.topics, frames.heads) == (4 * [b"a/topic"], 4 * [0x32])


def test_a_huge_payload_is_passed_over_without_being_held() -> None:
    size = 5_000_000
    stream = publish(b"a", bytes(size), 7, 0, b"") + publish(b"b", b"next", 8, 0, b"")
    splitter, frames, most = Splitter(LIMIT, False, lambda head, body: True), Frames(), 0
    for place in range(0, len(stream), 65_536):
        splitter.feed(stream[place : place + 65_536], frames)
        most = max(most, len(splitter._rest))
    assert [len(p) for p in frames.payloads] == [LIMIT + 1, 4]
    assert frames.packet_ids == [7, 8]
    assert most < 300_000


@pytest.mark.parametrize("topic", [1, 65_535])
@pytest.mark.parametrize("properties", [0, 1_000, 65_000, 70_000, 300_000])
@pytest.mark.parametrize("size", [0, LIMIT, LIMIT + 1, 500_000])
@pytest.mark.parametrize("step", [1_000, 65_536, 10_000_000])
def test_a_payload_behind_long_properties_is_whole_or_too_large(
    topic: int, properties: int, size: int, step: int
) -> None:
    """Handed up before all its properties were there it would be short, and acknowledged."""
    payload = b"x" * size
    stream = publish(b"t" * topic, payload, 7, 0, length(properties) + bytes(properties))
    stream += publish(b"next", b"y", 8, 0, b"\0")
    splitter, frames, most = Splitter(LIMIT, True, lambda head, body: True), Frames(), 0
    for place in range(0, len(stream), step):
        splitter.feed(stream[place : place + step], frames)
        most = max(most, len(splitter._rest))
    too_large = topic + properties > 131_000
    expected = bytes(LIMIT + 1) if too_large else payload[: LIMIT + 1]
    assert frames.payloads == [expected, b"y"]
    assert frames.packet_ids == [7, 8]
    assert most < 300_000


def made() -> BulkClient:
    """A client that would hold what it is told to send."""
    client = BulkClient(paho.CallbackAPIVersion.VERSION2)
    client._thread = threading.current_thread()
    client.renew()
    client.opened()
    return client


def sent(client: BulkClient) -> bytes:
    return b"".join(bytes(packet["packet"]) for packet in client._out_packet)


def test_many_acknowledgements_are_one_write() -> None:
    client = made()
    client.acknowledge([1, 2, 0xABCD], client._generation)
    assert len(client._out_packet) == 1
    assert sent(client) == b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\xab\xcd"


def test_acknowledgements_of_another_connection_are_not_sent() -> None:
    client = made()
    earlier = client._generation
    client.renew()
    client.acknowledge([1], client._generation)  # not accepted yet
    client.opened()
    client.acknowledge([2], earlier)
    assert sent(client) == b""
    client.acknowledge([3], client._generation)
    assert sent(client) == b"\x40\x02\x00\x03"


def test_a_write_that_the_socket_takes_in_pieces_stays_whole() -> None:
    """The other side reads slowly: acknowledgements and pings must not mix their bytes."""
    here, there = socket.socketpair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    here.setblocking(False)
    client = made()
    client._sock = here
    ids = [n % 65_535 + 1 for n in range(200_000)]
    heard = b""
    with here, there:
        there.settimeout(10)
        for place in range(0, len(ids), 20_000):
            client.acknowledge(ids[place : place + 20_000], client._generation)
            client._send_pingreq()
            client.loop_write()
        assert client.want_write()
        while len(heard) < 4 * len(ids) + 20:
            heard += there.recv(50_000)
            client.loop_write()
        client._sock = None
    pieces = [heard[place : place + 80_002] for place in range(0, len(heard), 80_002)]
    assert [piece[-2:] for piece in pieces] == [b"\xc0\x00"] * 10
    acknowledged = b"".join(piece[:-2] for piece in pieces)
    assert acknowledged[0::4] + acknowledged[1::4] == b"\x40" * 200_000 + b"\x02" * 200_000
    found = zip(acknowledged[2::4], acknowledged[3::4], strict=True)
    assert [high << 8 | low for high, low in found] == ids


def test_frames_are_sorted_out_in_order() -> None:
    frames = Frames([b"a", b"b", b"c"], [b"1", b"2", b"3"], [5, 0, 7], [0x32, 0x30, 0x33])
    left, taken = frames.without(lambda topic, payload, head: topic in (b"b", b"c"))
    assert left == Frames([b"a"], [b"1"], [5], [0x32])
    assert taken == [7]


def test_what_is_no_mqtt_is_refused() -> None:
    splitter = Splitter(LIMIT, False, lambda head, body: True)
    with pytest.raises(MalformedPacketError):
        splitter.feed(b"\x30\xff\xff\xff\xff\xff\x01", Frames())
    with pytest.raises(MalformedPacketError):
        Splitter(LIMIT, False, lambda head, body: True).feed(b"\x30\x03\x00\x09a", Frames())


def test_paho_still_has_the_private_names_that_are_used() -> None:
    client = BulkClient(paho.CallbackAPIVersion.VERSION2)
    assert [name for name in PRIVATE_NAMES if not hasattr(client, name)] == []
    assert set(client._in_packet) == {
        "command", "have_remaining", "remaining_count", "remaining_mult", "remaining_length",
        "packet", "to_process", "pos",
    }  # fmt: skip
