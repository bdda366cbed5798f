"""What a gateway serves over CoAP: telemetry in, its health out, and the list of both."""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from aiocoap import Message
from aiocoap.numbers.codes import (
    BAD_OPTION,
    BAD_REQUEST,
    CHANGED,
    CONTENT,
    GET,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    POST,
    PROXYING_NOT_SUPPORTED,
    PUT,
    REQUEST_ENTITY_INCOMPLETE,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    UNSUPPORTED_CONTENT_FORMAT,
)
from aiocoap.numbers.constants import Reliable
from aiocoap.numbers.contentformat import ContentFormat
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.pipe import Pipe
from aiocoap.resource import WKCResource
from aiocoap.util.linkformat import Link, LinkFormat

from gateway.core.contracts import Busy, Rejected, Stored
from gateway.io.coap.blocks import Blocks
from gateway.io.coap.server import AGAIN

TELEMETRY = "telemetry"
_JSON = ContentFormat.JSON
_OBSERVERS = 32
_LOOK = 1.0  # at the health, for those who observe it (s)
_ANYHOW = 300.0  # so often they are told although nothing changed: who is gone is noticed (s)
_LATER = 60  # when a sender may ask again whom a limit keeps out (s)
_DIAGNOSTIC = 120  # bytes: a small answer is no weapon against whoever's address was given
_UNDERSTOOD = {
    OptionNumber.URI_HOST,
    OptionNumber.URI_PORT,
    OptionNumber.URI_PATH,
    OptionNumber.URI_QUERY,
    OptionNumber.ACCEPT,
    OptionNumber.BLOCK1,
    OptionNumber.BLOCK2,
}
_FULL = ("too_many_devices", "too_many_in_all")

Result = Stored | Rejected | Busy


class Taker(Protocol):
    """Whoever telemetry is for."""

    def reads(self, content_format: int | None) -> bool:
        """Whether payloads of a Content-Format can be read."""
        ...

    async def take(self, device: str, content_format: int | None, payload: bytes) -> Result:
        """A device's message; what became of it."""
        ...


class Site:
    """See the module. health: the gateway's, at the moment."""

    def __init__(self, taker: Taker, blocks: Blocks, health: Callable[[], Mapping[str, Any]]):
        self._taker = taker
        self._blocks = blocks
        self._health = health
        self.observers = 0
        links = [
            Link(f"/{TELEMETRY}", rt="berrygate.telemetry", ct="0 50 60 110 112"),
            Link("/health", rt="berrygate.health", ct="50", obs=None),
        ]
        self._core = WKCResource(lambda: LinkFormat(links), impl_info=None)
        self._pages: dict[tuple[str, ...], Callable[[Message], Awaitable[Message]]] = {
            (".well-known", "core"): self._core.render_get,
            ("health",): self._health_now,
        }

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer a request; called by aiocoap."""
        request = pipe.request
        refusal = _misunderstood(request)
        if refusal is not None:
            pipe.add_response(refusal, is_last=True)
            return
        path = tuple(request.opt.uri_path)
        if path[:1] == (TELEMETRY,):
            pipe.add_response(await self._telemetry(request, path[1:]), is_last=True)
        elif path not in self._pages:
            pipe.add_response(Message(code=NOT_FOUND), is_last=True)
        elif request.code is not GET:
            pipe.add_response(Message(code=METHOD_NOT_ALLOWED), is_last=True)
        elif path == ("health",) and request.opt.observe == 0 and self.observers < _OBSERVERS:
            await self._observed(pipe)
        else:
            pipe.add_response(await self._page(request, path), is_last=True)

    # -- telemetry --------------------------------------------------------------------------

    async def _telemetry(self, request: Message, path: tuple[str, ...]) -> Message:
        if len(path) != 1 or not path[0]:
            return Message(code=NOT_FOUND, payload=b"telemetry/<device>")
        if request.code not in (POST, PUT):
            return Message(code=METHOD_NOT_ALLOWED)
        written = request.opt.content_format
        if not self._taker.reads(written):
            return Message(code=UNSUPPORTED_CONTENT_FORMAT)
        payload = self._blocks.payload(request)
        if isinstance(payload, Message):
            return payload
        number = None if written is None else int(written)
        answer = self._answer(await self._taker.take(path[0], number, payload))
        answer.opt.block1 = request.opt.block1
        answer.opt.no_response = request.opt.no_response
        return answer

    def _answer(self, result: Result) -> Message:
        if isinstance(result, Stored):
            return Message(code=CHANGED)
        if isinstance(result, Busy):
            return Message(code=SERVICE_UNAVAILABLE, max_age=max(round(result.after), 1))
        if result.reason == "rate":
            return Message(code=TOO_MANY_REQUESTS, max_age=AGAIN)
        if result.reason == "too_large":
            return self._blocks.too_large()
        if result.reason in _FULL:
            return Message(code=SERVICE_UNAVAILABLE, max_age=_LATER, payload=_short(result.detail))
        return Message(code=BAD_REQUEST, payload=_short(result.detail))

    # -- what is read -----------------------------------------------------------------------

    async def _page(self, request: Message, path: tuple[str, ...]) -> Message:
        answer = await self._pages[path](request)
        answer.code = answer.code or CONTENT
        wanted = request.opt.accept
        if wanted is not None and answer.opt.content_format not in (None, wanted):
            return Message(code=NOT_ACCEPTABLE)
        return _block_of(answer, request)

    async def _health_now(self, request: Message) -> Message:
        return _health_message(self._in_short())

    def _in_short(self) -> bytes:
        found = self._health()
        return msgspec.json.encode({"level": found.get("level"), "score": found.get("score")})

    async def _observed(self, pipe: Pipe) -> None:
        """Tell of each change (RFC 7641) until the observer is gone, or does not answer any more:
        then aiocoap cancels us."""
        self.observers += 1
        try:
            told, at = self._in_short(), time.monotonic()
            pipe.add_response(_notification(told), is_last=False)
            while True:
                await asyncio.sleep(_LOOK)
                now, moment = self._in_short(), time.monotonic()
                if now != told or moment - at > _ANYHOW:
                    told, at = now, moment
                    pipe.add_response(_notification(told), is_last=False)
        finally:
            self.observers -= 1


def topic_of(device: str, content_format: int | None) -> str:
    """Where a message comes from, and how it is written: `/telemetry/soil-4#ct=50`."""
    written = "" if content_format is None else f"#ct={content_format}"
    return f"/{TELEMETRY}/{quote(device, safe='')}{written}"


def _misunderstood(request: Message) -> Message | None:
    """What is to be answered to a request with a critical option that we do not know."""
    for option in request.opt.option_list():
        if option.number in (OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME):
            return Message(code=PROXYING_NOT_SUPPORTED)
        if int(option.number) & 1 and option.number not in _UNDERSTOOD:
            return Message(code=BAD_OPTION)
    return None


def _health_message(text: bytes) -> Message:
    return Message(code=CONTENT, payload=text, content_format=_JSON, max_age=60)


def _notification(text: bytes) -> Message:
    # Confirmable, also to who asked unconfirmably: one whose address somebody else gave is left
    # in peace soon.
    message = _health_message(text)
    message.transport_tuning = Reliable()
    # Later ones must have larger numbers, also after the observer has asked anew.
    message.opt.observe = int(time.monotonic() * 1000) & 0xFFFFFF
    return message


def _block_of(answer: Message, request: Message) -> Message:
    """The block of an answer that was asked for (RFC 7959, Block2)."""
    block = request.opt.block2
    payload = answer.payload
    if block is None or (not block.block_number and len(payload) <= block.size):
        return answer
    if block.start >= len(payload):
        return Message(code=REQUEST_ENTITY_INCOMPLETE)
    answer.payload = payload[block.start : block.start + block.size]
    more = block.start + block.size < len(payload)
    answer.opt.block2 = (block.block_number, more, min(block.size_exponent, 6))
    # By it an observer sees that two blocks are of different times.
    answer.opt.etag = zlib.crc32(payload).to_bytes(4, "big")
    return answer


def _short(text: str) -> bytes:
    return text.encode()[:_DIAGNOSTIC].decode(errors="ignore").encode()
