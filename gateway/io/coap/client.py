"""Resources of other CoAP servers: asked for again and again, or observed (RFC 7641).

A server that vanishes is asked again with growing pauses. One that was restarted has forgotten who
observes it, and says nothing: so it is asked anew as soon as what it said last is stale.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiocoap import Context, Message
from aiocoap.error import ConRetransmitsExceeded, Error
from aiocoap.numbers.codes import GET

from gateway.io.coap.guard import Guard
from gateway.io.coap.server import serve

PATIENCE = 35.0
"""How long an answer may take (s): the last of five tries is made 30 s after the first."""
_FIRST = 1.0
_MOST = 60.0  # between two tries of a server that is away (s)
_MAX_AGE = 60  # of a representation that does not say it (s; RFC 7252, section 5.10.5)
_SLACK = 10.0  # what comes may be so late (s)
_DAY = 86_400.0

Take = Callable[[int | None, bytes], Awaitable[None]]


class Resource:
    """One resource of another server. take: is given each representation, its Content-Format and
    its payload. changed: told when it cannot be had any more (why), and when it can again ("").

    trouble: why it cannot be had, or ""; last: when it came last (ns), 0: never.
    """

    def __init__(self, url: str, take: Take, changed: Callable[[str, str], None]) -> None:
        self.url = url
        self.trouble = ""
        self.last = 0
        self._take = take
        self._changed = changed
        self._failures = 0
        self._told = False

    async def poll(self, context: Context, interval: float) -> None:
        """Ask each `interval` seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            with suppress(Error, OSError, TimeoutError):
                await self._once(context)
            # Devices that were switched on together are not all asked at once for ever.
            due = max(due + max(interval, self._pause()), loop.time())
            await asyncio.sleep(due - loop.time())

    async def observe(self, context: Context) -> None:
        """Have it told when it changes, until cancelled."""
        while True:
            with suppress(Error, OSError, TimeoutError):
                await self._observed(context)
            await asyncio.sleep(max(self._pause(), _FIRST * random.uniform(0.5, 1.0)))

    def _pause(self) -> float:
        """Before the next try; 0.0 while it can be had."""
        if not self._failures:
            return 0.0
        longest = min(_FIRST * 2.0 ** min(self._failures, 20), _MOST)
        return random.uniform(longest / 2, longest)

    async def _once(self, context: Context) -> None:
        try:
            request = context.request(Message(code=GET, uri=self.url))
            await self._came(await self._answer(request))
        except (Error, OSError, TimeoutError) as error:
            self._failed(error)
            raise

    async def _answer(self, request: Any) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await request.response

    async def _observed(self, context: Context) -> None:
        """One registration, as long as it lasts."""
        request = context.request(Message(code=GET, uri=self.url, observe=0))
        notifications = aiter(request.observation)
        try:
            message = await self._answer(request)
            while True:
                await self._came(message)
                fresh = _MAX_AGE if message.opt.max_age is None else message.opt.max_age
                try:
                    async with asyncio.timeout(min(fresh, _DAY) + _SLACK):
                        message = await anext(notifications)
                except (TimeoutError, StopAsyncIteration):
                    # Nothing new: it may have forgotten us. Or it does not offer to be observed,
                    # and is asked each time that what it said is stale.
                    if message.opt.observe is None:
                        await asyncio.sleep(min(fresh, _MAX_AGE))
                    return
        except (Error, OSError, TimeoutError) as error:
            self._failed(error)
            raise
        finally:
            if not request.observation.cancelled:
                request.observation.cancel()

    async def _came(self, message: Message) -> None:
        if not message.code.is_successful():
            raise _Refused(f"it answers {message.code}")
        self.last, self._failures = time.time_ns(), 0
        self._tell("")
        number = message.opt.content_format
        await self._take(None if number is None else int(number), message.payload)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._tell(why(error))

    def _tell(self, trouble: str) -> None:
        before, self.trouble = self.trouble, trouble
        if before != trouble or not self._told:
            self._told = True
            self._changed(self.url, trouble)


def why(error: Exception) -> str:
    """Why a server did not answer, for people."""
    if isinstance(error, TimeoutError | ConRetransmitsExceeded):
        return "no answer"
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return str(error) or type(error).__name__


class _Refused(OSError):
    """The server says no."""


async def client() -> Context:
    """Asks other servers, from a port of its own, where nobody is served. Raises OSError."""
    server = await serve(None, "::", 0, Guard(rate=0, burst=1), requests=0, largest=0)
    return server.context
