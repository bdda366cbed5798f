"""Whatever comes from a line: nothing of it stops anything, and only an answer is one."""

import asyncio
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from gateway.core.errors import Unavailable
from gateway.io.modbus.exchange import Encoding, Exchange, NoAnswer
from tests.support.faults import runs

_FUNCTIONS = st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 0x83, 8, 11, 20, 22, 24, 43, 0])
_BODY = st.tuples(_FUNCTIONS, st.binary(max_size=40)).map(
    lambda parts: bytes([1, parts[0]]) + parts[1]
)


def framed(encoding: Encoding, body: bytes) -> bytes:
    """A frame with this in it, in form."""
    if encoding == "rtu":
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
    return b"\0\1\0\0" + len(body).to_bytes(2, "big") + body


async def _ask(encoding: Encoding, chunks: list[bytes]) -> None:
    asked: list[bytes] = []
    exchange = Exchange(encoding, lambda data, timeout: _sent(asked, data), lambda: None)
    request = ReadHoldingRegistersRequest(address=7, count=3)
    asking = asyncio.create_task(exchange.ask(1, request, 0.02))
    while not asked:
        await asyncio.sleep(0)
    for chunk in chunks:
        began = time.perf_counter()
        exchange.heard(chunk)
        assert time.perf_counter() - began < 0.05
    exchange.fail("gone")
    with suppress(Unavailable):  # or Refused, or NoAnswer: what the units know how to take
        assert len((await asking).registers) == 3


async def _sent(asked: list[bytes], data: bytes) -> None:
    asked.append(data)


@pytest.mark.parametrize("encoding", ["tcp", "rtu"])
def test_rubbish_raises_nothing(encoding: Encoding) -> None:
    @settings(max_examples=runs(300, 100_000), deadline=None)
    @given(st.lists(_BODY.map(lambda body: framed(encoding, body)) | st.binary(max_size=300)))
    def ask(chunks: list[bytes]) -> None:
        asyncio.run(_ask(encoding, chunks))

    ask()


async def test_an_answer_with_a_length_that_is_never_reached_ends_with_the_time() -> None:
    asked: list[bytes] = []
    exchange = Exchange("tcp", lambda data, timeout: _sent(asked, data), lambda: None)
    asking = asyncio.create_task(
        exchange.ask(1, ReadHoldingRegistersRequest(address=0, count=1), 0.1)
    )
    await asyncio.sleep(0.01)
    for _ in range(500):
        exchange.heard(b"\0\1\0\0\xff\xff" + bytes(100))
    with pytest.raises(NoAnswer, match="was no answer"):
        await asking
