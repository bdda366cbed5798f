"""What a broker says, and what the bridge makes of it: by a peer that says what it is told to."""

from pathlib import Path
from typing import Any

import pytest

from bridges.mqtt import MqttBridgeSettings
from gateway.core.contracts import Batch, Bridge, Context, Endpoint, Reading
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable
from tests.support.scripted import CONNACK, Scripted, scripted


def bridge(peer: Scripted, protocol: str = "5", **more: Any) -> Bridge[Any]:
    given = {"url": f"mqtt://127.0.0.1:{peer.port}", "timeout": "500ms", "protocol": protocol}
    settings = MqttBridgeSettings.model_validate(given | more)
    context = Context("gw", "berrygate", Path(), Endpoint(), lambda event: None)
    return settings.build("sink", context)


def batch(size: int = 3) -> Batch:
    return Batch(1, size + 1, [Reading("d", 10**18 + n, {"n": float(n)}) for n in range(size)])


async def send(sink: Bridge[Any], work: Batch) -> None:
    async with sink.connect() as conn:
        await sink.send(conn, work)


def refused(code: int, protocol: str = "5") -> bytes:
    return bytes((0x20, 3, 0, code, 0)) if protocol == "5" else bytes((0x20, 2, 0, code))


def answers(*codes: int | None) -> bytes:
    """PUBACKs for packet ids 1, 2, …; None: as MQTT 3.1.1 has them."""
    found = b""
    for number, code in enumerate(codes, 1):
        found += bytes((0x40, 2, 0, number) if code is None else (0x40, 3, 0, number, code))
    return found


@pytest.mark.parametrize(
    ("protocol", "code", "error"),
    [
        ("5", 0x86, Denied), ("5", 0x87, Denied), ("5", 0x8A, Denied), ("5", 0x85, Denied),
        ("5", 0x84, Denied), ("5", 0x9D, Denied), ("5", 0x88, Unavailable), ("5", 0x89, Throttled),
        ("5", 0x97, Throttled), ("5", 0x80, Unavailable),
        ("3.1.1", 2, Denied), ("3.1.1", 3, Unavailable), ("3.1.1", 4, Denied),
        ("3.1.1", 5, Denied),
    ],
)  # fmt: skip
async def test_refused_at_the_door(protocol: str, code: int, error: type[BerrygateError]) -> None:
    with scripted(refused(code, protocol)) as peer:
        with pytest.raises(error) as found:
            await send(bridge(peer, protocol), batch())
        assert type(found.value) is error
        assert (found.value.fix is not None) == (error is Denied)
        assert len(peer.heard) == 1


@pytest.mark.parametrize(
    ("codes", "error", "indices"),
    [
        ((None, None, None), None, []), ((0, 0x10, 0x10), None, []), ((0x10, None, 0), None, []),
        ((None, 0x99, None), Rejected, [1]), ((0x90, None, 0x95), Rejected, [0, 2]),
        ((0x83, 0x80, 0), Rejected, [0, 1]), ((None, 0x87, None), Denied, []),
        ((None, None, 0x97), Throttled, []), ((None, 0x91, None), Unavailable, []),
    ],
)  # fmt: skip
async def test_answers_to_messages(
    codes: tuple[int | None, ...], error: type[BerrygateError] | None, indices: list[int]
) -> None:
    with scripted(CONNACK["5"], answers(*codes)) as peer:
        if error is None:
            await send(bridge(peer), batch())
            return
        with pytest.raises(error) as found:
            await send(bridge(peer), batch())
        assert type(found.value) is error
        if isinstance(found.value, Rejected):
            assert found.value.indices == indices


@pytest.mark.parametrize(
    ("code", "error"),
    [(0x87, Denied), (0x97, Throttled), (0x8B, Unavailable), (0x8E, Unavailable),
     (0x95, Rejected), (0x99, Rejected), (0x90, Rejected), (0x98, Unavailable)],
)  # fmt: skip
async def test_thrown_out_while_sending(code: int, error: type[BerrygateError]) -> None:
    with scripted(CONNACK["5"], bytes((0xE0, 1, code))) as peer:
        sink = bridge(peer)
        async with sink.connect() as conn:
            with pytest.raises(error) as found:
                await sink.send(conn, batch())
            assert type(found.value) is error
            assert not conn.is_open
        if isinstance(found.value, Rejected):  # nobody said which one: they are sent singly
            assert found.value.indices == [0, 1, 2]
            assert len(peer.heard) >= 4


async def test_what_was_taken_before_the_connection_ended_is_not_sent_again() -> None:
    with scripted(CONNACK["5"], answers(None, None), hang_up=True) as peer:
        sink, work = bridge(peer), batch()
        with pytest.raises(Unavailable, match="closed"):
            await send(sink, work)
        await send(sink, work)
        first, second = (heard[heard.index(b"devices/gw") :] for heard in peer.heard)
        assert first.count(b"devices/gw/d") == 3
        assert second.count(b"devices/gw/d") == 1
        assert b'"n":2.0' in second


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(50), b"\x40\x01\x00", b"\x40\xff\xff\xff\xff\xff",
     b"\xe0\x01\x77", b"\x40\x03\x00\x01", b"\x20\x05\x00\x00\x02\xfe\x01", b"\xf0\x00",
     b"\x30\x03\x00\x09a"],
)  # fmt: skip
async def test_garbage_ends_the_attempt_and_nothing_else(garbage: bytes, protocol: str) -> None:
    for lines in ([garbage], [CONNACK[protocol], garbage]):
        with scripted(*lines, hang_up=True) as peer, pytest.raises(Unavailable):
            await send(bridge(peer, protocol), batch())


async def test_a_silent_broker_is_left() -> None:
    for lines in ([], [CONNACK["5"]], [CONNACK["5"], answers(None)]):
        with scripted(*lines) as peer, pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
            await send(bridge(peer), batch())


async def test_what_the_broker_allows() -> None:
    """Receive Maximum 2, Maximum Packet Size 120, no retained messages, QoS 0 only."""
    limits = b"\x21\x00\x02\x27\x00\x00\x00\x78"
    head = b"\x20" + bytes((3 + len(limits), 0, 0, len(limits)))
    with scripted(head + limits, answers(None, None), b"\x40\x02\x00\x03") as peer:
        await send(bridge(peer), batch())
        with pytest.raises(Rejected, match="120") as found:
            await send(bridge(peer, topic="a/" + "x" * 100), batch(1))
        assert found.value.indices == [0]
    for property_, more in ((b"\x25\x00", {"retain": True}), (b"\x24\x00", {})):
        with scripted(b"\x20\x05\x00\x00\x02" + property_) as peer:
            with pytest.raises(Denied) as denied:
                await send(bridge(peer, **more), batch())
            assert denied.value.fix
