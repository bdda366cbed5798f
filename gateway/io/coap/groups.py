"""All CoAP Nodes (RFC 7252, sections 8 and 12.8): being found by multicast, and finding others.

Only `/.well-known/core` is answered: a reading that came to a group would be stored by everybody.
"""

import asyncio
import logging
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiocoap import Context, Message
from aiocoap.error import Error
from aiocoap.numbers.codes import GET
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import NON
from aiocoap.util import linkformat

log = logging.getLogger(__name__)

LEISURE = 5.0
"""Answers to a group come within so long, so that not all come at once (s; section 8.2)."""
IPV4, IPV6 = "224.0.1.187", "ff02::fd"
"""The groups, on the link."""
PORT = 5683
"""Where a group is asked."""
_CORE = (".well-known", "core")
_UNDERSTOOD = {OptionNumber.URI_HOST, OptionNumber.URI_PATH, OptionNumber.URI_QUERY}
_SERVERS = 200  # most that are remembered of one look
_LINKS = 100  # most of each
_LONGEST = 16_384  # bytes that tell them: as many as are read in 50 ms
_ANSWER = 10.0  # how long a server that was found may take to say what it has (s)
_AT_ONCE = 8
_OURS = os.urandom(4)  # the token by which we know our own question


def join(listening: socket.socket, interfaces: Iterable[str]) -> None:
    """Have a socket get what is sent to the groups there. Raises OSError where one is not there or
    has no multicast."""
    for name in interfaces:
        try:
            index = socket.if_nametoindex(name)
        except OSError as error:
            raise OSError(error.errno, f"there is no interface {name}") from error
        six = socket.inet_pton(socket.AF_INET6, IPV6) + struct.pack("@I", index)
        four = socket.inet_aton(IPV4) + struct.pack("@4xi", index)
        joined, refused = 0, OSError()
        for level, option, group in (
            (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, six),
            (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, four),
        ):
            try:
                listening.setsockopt(level, option, group)
                joined += 1
            except OSError as error:  # an interface may well have one kind of address only
                refused = error
        if not joined:
            raise OSError(refused.errno, f"multicast on {name}: {refused.strerror}")


def is_for_us(request: Message) -> bool:
    """Whether a request to a group is to be answered: one that would get an error is not, as
    everybody would answer it (section 8.2), and nothing is stored."""
    return bool(
        request.mtype is NON
        and request.code is GET
        and tuple(request.opt.uri_path) == _CORE
        and all(option.number in _UNDERSTOOD for option in request.opt.option_list())
        and request.token != _OURS
    )


class Neighbours:
    """Who else is on these interfaces. found: what each server has, by its address
    (`coap://192.0.2.7`), as it was last seen."""

    def __init__(self, interfaces: Iterable[str], port: int = PORT) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._interfaces = tuple(interfaces)
        self._port = port

    async def look(self, context: Context, every: float, wait: float = LEISURE + 1.0) -> None:
        """Ask each `every` seconds, until cancelled; `wait` for answers each time (s)."""
        while True:
            began = time.monotonic()
            there = {base async for base in self._asked(wait)}
            some = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._ask(context, base, some) for base in there))
            await asyncio.sleep(max(every - (time.monotonic() - began), 1.0))

    async def _asked(self, wait: float) -> AsyncIterator[str]:
        """Those that answer within `wait`."""
        heard: dict[str, None] = {}

        def came(base: str) -> None:
            if len(heard) < _SERVERS:
                heard[base] = None

        question = Message(code=GET, uri_path=_CORE, _mtype=NON, _mid=_mid(), _token=_OURS)
        data = question.encode()
        async with _sockets(self._interfaces, came) as sockets:
            for send, group in sockets:
                with suppress(OSError):  # no address of this kind there, or the cable is out
                    send(data, (group, self._port))
            await asyncio.sleep(wait)
        for base in heard:
            yield base

    async def _ask(self, context: Context, base: str, some: asyncio.Semaphore) -> None:
        """What one of them has; an answer to a group is short, so it is asked again by itself."""
        message = Message(code=GET, uri=f"{base}/{'/'.join(_CORE)}")
        try:
            async with some, asyncio.timeout(_ANSWER):
                answer = await context.request(message).response
            there = links(answer.payload)
        except (Error, OSError, TimeoutError, ValueError) as error:
            log.debug("%s says nothing of what it has: %s", base, error)
            return
        if base not in self.found:
            log.info("found %s: %s", base, ", ".join(sorted(there)) or "nothing to read")
            if len(self.found) >= _SERVERS:
                self.found.pop(min(self.found, key=lambda each: self.found[each]["seen"]))
        self.found[base] = {"resources": there, "seen": int(time.time() * 1000)}


def links(payload: bytes) -> Mapping[str, str]:
    """Paths, and what is at each as far as it tells (its `rt`). Raises ValueError."""
    if len(payload) > _LONGEST:
        raise ValueError(f"link format of {len(payload)} bytes")
    try:
        found = linkformat.parse(payload.decode()).links[:_LINKS]
    except linkformat.link_header.ParseException as error:
        raise ValueError(f"no link format: {error}") from error
    return {
        link.href: " ".join(value for key, value in link.attr_pairs if key == "rt" and value)
        for link in found
    }


def _mid() -> int:
    return int.from_bytes(os.urandom(2), "big")


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, came: Callable[[str], None]) -> None:
        self._came = came

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if len(data) < 8 or data[4:8] != _OURS or data[0] & 0x0F != len(_OURS):
            return
        host = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        where = f"[{host}]" if ":" in host else host
        self._came(f"coap://{where}" + ("" if address[1] == PORT else f":{address[1]}"))


@asynccontextmanager
async def _sockets(
    interfaces: Iterable[str], came: Callable[[str], None]
) -> AsyncIterator[list[tuple[Callable[..., None], str]]]:
    """One of each kind on each interface, and the group that is asked through it."""
    loop, opened, found = asyncio.get_running_loop(), [], []
    try:
        for name in interfaces:
            for family in (socket.AF_INET, socket.AF_INET6):
                try:
                    asking = _asking(family, socket.if_nametoindex(name))
                except OSError:
                    continue
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Answers(came), sock=asking
                )
                opened.append(transport)
                found.append((transport.sendto, IPV4 if family == socket.AF_INET else IPV6))
        yield found
    finally:
        for transport in opened:
            transport.close()


def _asking(family: int, index: int) -> socket.socket:
    asking = socket.socket(family, socket.SOCK_DGRAM)
    try:
        asking.setblocking(False)
        if family == socket.AF_INET:
            through = struct.pack("@8xi", index)
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, through)
        else:
            asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    except OSError:
        asking.close()
        raise
    return asking
