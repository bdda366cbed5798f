"""Plumbing of CoAP: who sends how much, what is put together, what is remembered."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiocoap.messagemanager
import aiocoap.tokenmanager
import aiocoap.transports.udp6
from aiocoap import Message
from aiocoap.numbers.codes import POST, Code

from gateway.io.coap import guard as coap_guard
from gateway.io.coap import server as coap_server
from gateway.io.coap.blocks import Blocks
from gateway.io.coap.guard import Guard, Verdict
from gateway.io.coap.server import Messages, serve
from tests.support import coap
from tests.support.coap import Client


def test_an_address_may_send_at_its_rate_for_ever_and_its_burst_at_once() -> None:
    guard = Guard(rate=10, burst=20)
    at_once = [guard.verdict("a", 100.0) for _ in range(40)]
    assert at_once.count(Verdict.TAKE) == 20
    assert at_once.count(Verdict.REFUSE) == 1
    assert at_once.count(Verdict.DROP) == guard.dropped == 19
    assert guard.verdict("b", 100.0) is Verdict.TAKE, "another's flood is no reason"
    steady = [guard.verdict("a", 101.0 + n / 10) for n in range(1_000)]
    assert set(steady) == {Verdict.TAKE}


def test_no_rate_is_no_limit() -> None:
    guard = Guard(rate=0, burst=1)
    assert {guard.verdict("a", 0.0) for _ in range(10_000)} == {Verdict.TAKE}


def test_invented_addresses_do_not_fill_the_memory() -> None:
    guard = Guard(rate=1, burst=1)
    for number in range(coap_guard._ADDRESSES + 500):
        guard.verdict(str(number), number / 1e6)
    assert len(guard._full_at) == coap_guard._ADDRESSES


def block(place: int, more: bool, payload: bytes, sender: str = "a") -> Message:
    message = Message(code=POST, payload=payload, block1=(place, more, 0), uri_path=("t",))
    message.remote = SimpleNamespace(blockwise_key=sender)
    return message


def test_blocks_of_several_senders_are_kept_apart_and_bounded() -> None:
    blocks = Blocks(largest=1_000, most=64)
    for sender in "abcd":
        assert blocks.payload(block(0, True, sender.encode() * 16, sender)).code is Code.CONTINUE
    refused = blocks.payload(block(0, True, b"e" * 16, "e"))
    assert refused.code is Code.SERVICE_UNAVAILABLE
    assert refused.opt.max_age > 0
    assert blocks.payload(block(1, False, b"!", "b")) == b"b" * 16 + b"!"
    assert blocks.payload(block(0, True, b"e" * 16, "e")).code is Code.CONTINUE
    # One that begins again takes the place of what it had begun.
    for _ in range(10):
        assert blocks.payload(block(0, True, b"x" * 16, "a")).code is Code.CONTINUE
    assert blocks.payload(block(1, False, b"", "a")) == b"x" * 16


def test_blocks_that_do_not_go_on_are_forgotten(monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr("gateway.io.coap.blocks.time.monotonic", lambda: now[0])
    blocks = Blocks(largest=1_000, most=16)
    blocks.payload(block(0, True, b"a" * 16, "a"))
    now[0] = 200.0
    assert blocks.payload(block(0, True, b"b" * 16, "b")).code is Code.CONTINUE
    assert blocks.payload(block(1, False, b"", "a")).code is Code.REQUEST_ENTITY_INCOMPLETE


def test_blocks_that_cannot_be() -> None:
    blocks = Blocks(largest=40, most=1_000)
    assert blocks.payload(block(0, True, b"short")).code is Code.BAD_REQUEST
    whole = Message(code=POST, payload=b"x" * 41)
    assert blocks.payload(whole).code is Code.REQUEST_ENTITY_TOO_LARGE
    assert blocks.payload(Message(code=POST, payload=b"x" * 40)) == b"x" * 40
    announced = block(0, True, b"x" * 16)
    announced.opt.size1 = 41
    assert blocks.payload(announced).opt.size1 == 40
    for place, code in ((0, Code.CONTINUE), (1, Code.CONTINUE), (2, Code.REQUEST_ENTITY_TOO_LARGE)):
        assert blocks.payload(block(place, True, b"x" * 16)).code is code


class Echo:
    """A site that answers at once."""

    def __init__(self) -> None:
        self.asked = 0

    async def render_to_pipe(self, pipe: Any) -> None:
        self.asked += 1
        pipe.add_response(Message(code=Code.CHANGED), is_last=True)


async def test_what_is_remembered_of_messages_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(coap_server, "_REMEMBERED", 100)
    site = Echo()
    server = await serve(site, "127.0.0.1", 0, Guard(0, 1), 1_000, 1_000)

    def send() -> int:
        with Client(server.port) as client:
            for mid in range(300):
                client.send(coap.message(coap.POST, "t", b"x", mid))
                client.receive()
            client.send(coap.message(coap.POST, "t", b"x", 299))
            client.receive()
            client.send(coap.message(coap.POST, "t", b"x", 1))
            client.receive()
        return site.asked

    assert await asyncio.to_thread(send) == 301  # 299 is remembered, 1 is not
    assert len(server.messages._seen) <= 100
    await server.context.shutdown()


async def test_no_request_is_written_out_for_nobody(monkeypatch: Any) -> None:
    written: list[int] = []
    monkeypatch.setattr(Message, "__repr__", lambda self: written.append(1) or "a message")
    server = await serve(Echo(), "127.0.0.1", 0, Guard(0, 1), 10, 1_000)
    with Client(server.port) as client:
        assert (await asyncio.to_thread(client.post, "a", b"1")).code == "2.04"
    await server.context.shutdown()
    assert not written


async def test_it_listens_on_ipv6_too() -> None:
    server = await serve(Echo(), "::1", 0, Guard(0, 1), 10, 1_000)
    assert server.port
    await server.context.shutdown()


def test_what_is_used_of_aiocoap_is_still_there() -> None:
    """Names that are not public: see gateway.io.coap.server."""
    for name in (
        "_deduplicate_message",
        "_store_response_for_duplicates",
        "_process_request",
        "_send_initially",
        "_next_message_id",
        "dispatch_message",
    ):
        assert callable(getattr(aiocoap.messagemanager.MessageManager, name)), name
        assert name in vars(Messages) or name in ("_send_initially", "_next_message_id")
    interface = aiocoap.transports.udp6.MessageInterfaceUDP6
    assert callable(interface.datagram_msg_received)
    context = SimpleNamespace(log=None, loop=None)
    assert aiocoap.tokenmanager.TokenManager(context).incoming_requests == {}
