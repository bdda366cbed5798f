"""What devices behind other CoAP servers are told: a request for each command, and its answer.

aiocoap sends a confirmable message again, for up to 45 s, also when whoever sent it has given up;
and it lets one wait that long behind another to the same server that nobody answers. So each
command has a socket of its own, which is closed when its time is over: nothing is sent late.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiocoap import Context, Message
from aiocoap.error import Error, MessageError, ResolutionError
from aiocoap.numbers.codes import DELETE, GET, POST, PUT
from aiocoap.numbers.contentformat import ContentFormat

from gateway.core.commands import Schema
from gateway.core.contracts import Command, Reply
from gateway.core.errors import DecodeError
from gateway.core.settings import duration_text
from gateway.io.coap.client import client, why
from gateway.io.coap.formats import Formats
from gateway.io.coap.settings import CommandSettings, ResourceSettings

_METHODS = {"PUT": PUT, "POST": POST, "GET": GET, "DELETE": DELETE}
_FORMATS = {
    "json": ContentFormat.JSON,
    "text": ContentFormat.TEXT,
    "cbor": ContentFormat.CBOR,
    "octets": ContentFormat.OCTETSTREAM,
}
_PORT = 5683
_REPEATED = 2.0  # a request that is not acknowledged is sent again after so long (s), or longer
_DIAGNOSTIC = 500  # characters of what a server says of an error
_PERHAPS = "; it may have been done"


@dataclass(frozen=True, slots=True)
class _Known:
    """A command. url: the resource that is told."""

    url: str
    settings: CommandSettings

    @property
    def server(self) -> tuple[str, int]:
        """Who is told."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORT

    def message(self, body: bytes) -> Message:
        """The request."""
        settings = self.settings
        message = Message(code=_METHODS[settings.method], uri=self.url, payload=body)
        if settings.payload:
            message.opt.content_format = _FORMATS[settings.format]
        return message


class Commands:
    """See the module. resources: with what their devices can be told. formats: how answers are
    read that are neither text nor JSON."""

    def __init__(self, resources: Iterable[ResourceSettings], formats: Formats) -> None:
        self._known: dict[str, dict[str, _Known]] = {}
        for each in resources:
            mine = self._known.setdefault(each.device, {})
            for name, settings in each.commands.items():
                mine[name] = _Known(settings.url or each.url, settings)
        self._formats = formats
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def names(self) -> dict[str, list[str]]:
        """Of the commands, by device; of those that have any."""
        return {device: sorted(known) for device, known in self._known.items() if known}

    def schemas(self, device: str) -> dict[str, Schema]:
        """Of the arguments of a device's commands."""
        known = self._known.get(device, {})
        return {name: each.settings.arguments() for name, each in known.items()}

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator."""
        device = command.device or (next(iter(self._known)) if len(self._known) == 1 else "")
        known = self._known.get(device, {})
        told = known.get(command.name)
        if told is None:
            names = ", ".join(sorted(known)) or "none"
            return Reply("rejected", error=f'no command "{command.name}"; known: {names}')
        try:
            message = told.message(told.settings.body(command.args))
        except ValueError as error:
            return Reply("rejected", error=str(error))
        async with self._turns[told.server]:
            try:
                context = await client()
            except OSError as error:
                return Reply("failed", error=why(error))
            try:
                return await self._told(context, message, told.settings.timeout, command)
            finally:
                await context.shutdown()

    async def _told(
        self, context: Context, message: Message, timeout: float, command: Command
    ) -> Reply:
        """Send it, and wait for the answer, but not longer than until it is too late."""
        left = (command.expires - time.time_ns()) / 1e9 if command.expires else math.inf
        if left <= 0:
            return Reply("expired", error="it came too late")
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(timeout, left)):
                answer = await context.request(message).response
        except TimeoutError:
            within = f"within {duration_text(timeout)}" if timeout <= left else "in time"
            return Reply("failed", error=f"no answer {within}{_PERHAPS}")
        except (Error, OSError) as error:
            again = time.monotonic() - began >= _REPEATED and not isinstance(error, ResolutionError)
            return Reply("failed", error=f"{_reason(error)}{_PERHAPS if again else ''}")
        if answer.code.is_successful():
            return Reply("ok", self._result(command.device, answer))
        said = _text(answer.payload)[:_DIAGNOSTIC]
        return Reply("failed", error=f"it answers {answer.code}{f': {said}' if said else ''}")

    def _result(self, device: str, answer: Message) -> Any:
        """What a device says of it; None where it says nothing."""
        payload, written = answer.payload, answer.opt.content_format
        if not payload:
            return None
        try:
            if written in (None, ContentFormat.JSON):
                return msgspec.json.decode(payload)
            codec = self._formats.codec(int(written)) if written != ContentFormat.TEXT else None
            if codec is not None:
                found: dict[str, Any] = {}
                for _, values in codec.decode(device, payload, time.time_ns()):
                    found |= values
                return found
        except (msgspec.DecodeError, DecodeError, RecursionError):
            pass  # it was done, whatever was said of it
        return _text(payload)


def _reason(error: Exception) -> str:
    return "it refused the message (RST)" if isinstance(error, MessageError) else why(error)


def _text(payload: bytes) -> str:
    """For people, and for a line of a log."""
    text = payload.decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else " " for each in text).strip()
