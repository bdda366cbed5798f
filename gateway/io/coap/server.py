"""CoAP's messages (RFC 7252, section 4) as a server has them: aiocoap's, with bounds.

aiocoap keeps every request and its answer for four minutes, has no limit to requests at a time, and
takes a port together with whoever has it already. Names of it that are not public are used here and
nowhere else; a test notices when they change.
"""

import asyncio
import logging
import random
import socket
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiocoap import Context, Message
from aiocoap.error import UnparsableMessage
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.codes import (
    POST,
    PUT,
    REQUEST_ENTITY_TOO_LARGE,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    Code,
)
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import ACK, CON, NON
from aiocoap.pipe import Pipe, error_to_message, run_driving_pipe
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6, UDP6EndpointAddress
from aiocoap.util import socknumbers
from aiocoap.util.asyncio.recvmsg import create_recvmsg_datagram_endpoint

from gateway.io.coap import groups as coap_groups
from gateway.io.coap.guard import Guard, Verdict

AGAIN = 5
"""After how many seconds one that was sent away may ask again (Max-Age)."""
_REMEMBERED = 10_000  # messages that a repeated one is recognised by; each takes some 700 bytes
_BUFFER = 1_000_000  # of the socket (bytes): datagrams that come while we are at something else
_LONGEST_TOKEN = 8


class _Tuning(TransportTuning):  # type: ignore[misc]
    """The answer comes after a commit of 0.1 s and a disk's time for it. Acknowledged apart before
    that, each request would cost four messages instead of two; a client sends again after 2 s."""

    EMPTY_ACK_DELAY = 1.0


_TUNING = _Tuning()


@dataclass(slots=True)
class _Seen:
    """A message that came: when (s, loop time), its CRC-32, and our answer to it as sent."""

    at: float
    crc: int
    answer: bytes = b""


@dataclass(slots=True)
class _Datagram:
    """The one that is being looked at. refused: its address sends too many. cut: it was longer
    than what was read of it."""

    crc: int = 0
    refused: bool = False
    cut: bool = False


class Messages(MessageManager):  # type: ignore[misc]
    """requests: how many are worked on at a time; largest: payload taken (bytes). dropped: what
    was sent away before it was looked at, by reason."""

    def __init__(self, tokens: TokenManager, requests: int, largest: int) -> None:
        super().__init__(tokens)
        self.dropped: Counter[str] = Counter()
        self.datagram = _Datagram()
        self.in_groups = False
        self._requests = requests
        self._largest = largest
        self._seen: OrderedDict[Any, _Seen] = OrderedDict()

    def dispatch_message(self, message: Message) -> None:
        message.transport_tuning = _TUNING
        super().dispatch_message(message)

    def _deduplicate_message(self, message: Message) -> bool:
        """Whether a message came before, within EXCHANGE_LIFETIME; then its answer is sent again
        (RFC 7252, section 4.5)."""
        key, now, crc = (message.remote, message.mid), self.loop.time(), self.datagram.crc
        seen = self._seen.get(key)
        # A device that counts from the same number each time it wakes up says something new under
        # an old id. It would be told that it is stored, and it would not be.
        if seen is not None and seen.crc == crc and now - seen.at < _TUNING.EXCHANGE_LIFETIME:
            if message.mtype is CON and seen.answer:
                self.message_interface.send_raw(seen.answer, message.remote)
            return True
        self._forget(now)
        self._seen[key] = _Seen(now, crc)
        self._seen.move_to_end(key)
        return False

    def _forget(self, now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen.values()))
            if len(self._seen) < _REMEMBERED and now - oldest.at < _TUNING.EXCHANGE_LIFETIME:
                break
            self._seen.popitem(last=False)

    def _store_response_for_duplicates(self, message: Message) -> None:
        seen = self._seen.get((message.remote, message.mid))
        if seen is not None:
            seen.answer = message.encode()

    def _process_request(self, request: Message) -> None:
        working = self.token_manager.incoming_requests
        if working is None:
            return  # shutting down; it is sent again to whoever comes after us
        if self.in_groups and request.remote.is_multicast_locally:
            # Whoever asks may not be who is to be answered: a flooding address is not at all.
            if coap_groups.is_for_us(request) and not self.datagram.refused:
                later = random.uniform(0.0, coap_groups.LEISURE)
                self.loop.call_later(later, self._to_a_group, request)
            return
        if self.datagram.refused:
            self._send_away(request, TOO_MANY_REQUESTS, "rate", max_age=AGAIN)
        elif self.datagram.cut:
            self._send_away(request, REQUEST_ENTITY_TOO_LARGE, "too_large", size1=self._largest)
        elif len(working) >= self._requests:
            self._send_away(request, SERVICE_UNAVAILABLE, "busy", max_age=AGAIN)
        else:
            super()._process_request(request)

    def _to_a_group(self, request: Message) -> None:
        working = self.token_manager.incoming_requests
        if working is not None and len(working) < self._requests:
            super()._process_request(request)

    def _send_away(self, request: Message, code: Code, reason: str, **options: int) -> None:
        if request.code in (POST, PUT):
            self.dropped[reason] += 1
        confirmable = request.mtype is CON
        answer = Message(
            code=code,
            _mtype=ACK if confirmable else NON,
            _mid=request.mid if confirmable else self._next_message_id(),
            _token=request.token,
            **options,
        )
        answer.remote = request.remote
        self._send_initially(answer)


class _Context(Context):  # type: ignore[misc]
    """aiocoap writes each request out in full, to name a task after it."""

    def render_to_pipe(self, pipe: Pipe) -> None:
        answered = error_to_message(pipe, self.log)
        run_driving_pipe(answered, self._render_to_pipe(pipe), name="a request")


class _Socket(MessageInterfaceUDP6):  # type: ignore[misc]
    """Looks at datagrams before aiocoap does. malformed: those that are no CoAP message."""

    def __init__(self, guard: Guard, messages: Messages, context: Context) -> None:
        super().__init__(messages, log=context.log, loop=context.loop)
        self.malformed = 0
        self._guard = guard
        self._messages = messages

    def send_raw(self, data: bytes, remote: UDP6EndpointAddress) -> None:
        """Send what was encoded before."""
        there = [] if remote.pktinfo is None else [remote.pktinfo]
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, each) for each in there]
        self.transport.sendmsg(data, ancillary, 0, remote.sockaddr)

    def datagram_msg_received(
        self, data: bytes, ancdata: Any, flags: int, address: tuple[Any, ...]
    ) -> None:
        verdict = self._guard.verdict(address[0], time.monotonic())
        if verdict is Verdict.DROP:
            return
        found = [
            value
            for level, kind, value in ancdata
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO
        ]
        try:
            if data and data[0] & 0x0F > _LONGEST_TOKEN:
                raise UnparsableMessage("the token is too long")
            remote = UDP6EndpointAddress(address, self, pktinfo=found[0])
            message = Message.decode(data, remote)
        except (UnparsableMessage, UnicodeDecodeError, IndexError):
            self.malformed += 1
            return
        cut = bool(flags & socket.MSG_TRUNC)
        self._messages.datagram = _Datagram(zlib.crc32(data), verdict is Verdict.REFUSE, cut)
        self._messages.dispatch_message(message)


@dataclass(slots=True)
class Server:
    """A server at work. port: the one it has."""

    context: Context
    messages: Messages
    socket: _Socket
    guard: Guard
    port: int

    @property
    def ignored(self) -> int:
        """Datagrams thrown away unread, and those that were no CoAP messages."""
        return self.guard.dropped + self.socket.malformed

    @property
    def working(self) -> int:
        """Requests being worked on."""
        return len(self.messages.token_manager.incoming_requests or ())


async def serve(
    site: Any,
    host: str,
    port: int,
    guard: Guard,
    requests: int,
    largest: int,
    multicast: Iterable[str] = (),
) -> Server:
    """Listen, and let `site.render_to_pipe` answer. requests, largest: see Messages. multicast:
    interfaces where it can be found. Others can also be asked through its context. Raises OSError
    where the address cannot be had."""
    loop = asyncio.get_running_loop()
    bound = await _bound(host, port)
    try:
        coap_groups.join(bound, multicast)
    except OSError:
        bound.close()
        raise
    context = _Context(loop=loop, serversite=site, loggername="coap-server")
    if not context.log.isEnabledFor(logging.DEBUG):
        context.log.setLevel(logging.WARNING)  # else anybody's datagrams fill our log
    tokens = TokenManager(context)
    messages = Messages(tokens, requests, largest)
    messages.in_groups = bool(multicast)
    try:
        _, interface = await create_recvmsg_datagram_endpoint(
            loop, lambda: _Socket(guard, messages, context), sock=bound
        )
        await interface.ready
    except BaseException:
        bound.close()
        raise
    messages.message_interface = interface
    tokens.token_interface = messages
    context.request_interfaces.append(tokens)
    return Server(context, messages, interface, guard, bound.getsockname()[1])


async def _bound(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, family=socket.AF_INET6, type=socket.SOCK_DGRAM, flags=socket.AI_V4MAPPED
    )
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        made.setsockopt(socket.IPPROTO_IPV6, socknumbers.IPV6_RECVERR, 1)
        made.setsockopt(socket.IPPROTO_IP, socknumbers.IP_RECVERR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind(found[0][4])
    except BaseException:
        made.close()
        raise
    return made
