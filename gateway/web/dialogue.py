"""What a client of the control socket is answered. Loaded for the first one there is."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.core.contracts import Flag, Reading
from gateway.web.calls import arguments, calls, perform
from gateway.web.house import House
from gateway.web.lines import CallError, failure, line, parse
from gateway.web.params import TailParams
from gateway.web.streams import send_export, take_import

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024


def reading_as_dict(reading: Reading) -> dict[str, Any]:
    """A reading for people and scripts; time in epoch ms."""
    flags = reading.flags
    return {
        "device": reading.device,
        "time": reading.time // 1_000_000,
        "values": reading.values,
        "clock": "unsynced" if flags & Flag.UNSYNCED else "synced",
        "late": bool(flags & Flag.LATE),
        "historical": bool(flags & Flag.HISTORICAL),
    }


class Dialogue:
    """Answers requests to `house`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._calls = calls(house)

    async def answer(
        self, asked: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the request `asked`. Raises ConnectionError, IncompleteReadError where the client
        goes."""
        try:
            request = parse(asked)
            if request.call == "tail":
                pattern = arguments(TailParams, request.args).filter
                await _until_eof(reader, self._tail(pattern, writer))
            elif request.call == "export":
                await _until_eof(reader, send_export(self._house, request.args, writer))
            elif request.call == "import":
                await take_import(self._house, request.args, reader, writer)
            else:
                writer.write(_told(request.call, await perform(self._calls, request)))
        except CallError as error:
            writer.write(failure(error))

    async def _tail(self, pattern: str, writer: asyncio.StreamWriter) -> None:
        writer.write(line({"ok": None}))
        async with aclosing(self._house.tail(pattern)) as bursts:  # type: ignore[type-var]
            async for readings in bursts:
                writer.writelines(line({"next": reading_as_dict(each)}) for each in readings)
                await writer.drain()


def _told(call: str, answer: Any) -> bytes:
    """The line of an answer. Raises CallError where there is something in it that JSON cannot
    tell: whoever asks is to hear that, and not only that we hang up."""
    try:
        return line({"ok": answer})
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        log.exception("control: the answer to %s cannot be written", call)
        raise CallError("failed", "the gateway failed on this; its log says why") from error


async def _until_eof(reader: asyncio.StreamReader, stream: Coroutine[Any, Any, None]) -> None:
    """Await `stream` until it ends or the client hangs up."""
    streaming = asyncio.create_task(stream)
    closed = asyncio.create_task(_drained(reader))
    try:
        await asyncio.wait([streaming, closed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
        streaming.cancel()
        await asyncio.wait([streaming, closed])
    if not streaming.cancelled():
        streaming.result()


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(_CHUNK):
        pass
