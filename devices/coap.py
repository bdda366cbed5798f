"""Devices that speak CoAP (RFC 7252): those that send to us, and those that we ask, observe, tell.

Whoever sends is told that a reading is stored once it is on the disk, and not before.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import Field, SerializeAsAny, model_validator

from gateway.codecs.json import JsonSettings
from gateway.core.commands import Schema
from gateway.core.contracts import Burst, Codec, Command, Context, Device, Reply
from gateway.core.errors import ConfigError, DecodeError
from gateway.core.events import Connected, Disconnected
from gateway.core.settings import CodecSettings, DeviceSettings, Duration, wrong
from gateway.io.answered import Answered
from gateway.io.coap.blocks import Blocks
from gateway.io.coap.client import Resource, client
from gateway.io.coap.commands import Commands
from gateway.io.coap.formats import Formats
from gateway.io.coap.groups import Neighbours
from gateway.io.coap.guard import Guard
from gateway.io.coap.keyring import Keyring
from gateway.io.coap.server import Server, serve
from gateway.io.coap.settings import KeySettings, PolledSettings, ResourceSettings, check_once
from gateway.io.coap.site import TELEMETRY, Result, Site, topic_of

log = logging.getLogger(__name__)

_PATIENCE = 10.0  # how long whoever sends waits for a disk that refuses (s)
_HELD = 16_000_000  # bytes of messages that wait for the disk
_PARTIAL = 8_000_000  # bytes of messages that are not whole yet
_RETRY = 5.0  # before a port that is taken is tried again (s)
_GOODBYE = 0.5  # how long commits on their way may take when we stop (s)


class CoapSettings(DeviceSettings):
    """Devices that speak CoAP."""

    type: Literal["coap"] = "coap"
    """Which driver."""
    serve: bool = True
    """Take what devices send to coap://HOST/telemetry/DEVICE."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every IPv4 address of this machine, :: every address. Who
    can reach it may send: plain CoAP asks nobody who they are."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 5683
    """Port to listen on; 0 takes any that is free, see `berrygate status --json`."""
    codec: SerializeAsAny[CodecSettings] = JsonSettings()
    """How payloads that come without a Content-Format are decoded, and those of its own."""
    multicast: tuple[str, ...] = ()
    """Network interfaces, such as eth0, where it can be found by multicast (All CoAP Nodes), and
    where others are looked for; host must be 0.0.0.0 or :: for it."""
    look: Annotated[Duration, Field(ge=10.0)] = 600.0
    """How often others are looked for there; what was found is in `berrygate status --json`."""
    requests: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Most requests that are worked on at a time; others are sent away for a moment (5.03)."""
    remote_rate: Annotated[int, Field(ge=0)] = 200
    """Datagrams a second that one address may send for long; 0 for any number. What is over is
    refused (4.29), and of a flood most is not even read."""
    remote_burst: Annotated[int, Field(ge=1)] = 2_000
    """How many it may send at once after it was quiet."""
    keys: tuple[KeySettings, ...] = ()
    """Keys of devices, for OSCORE: with them, who sends needs one, and is that device only."""
    issued_keys: bool = False
    """Keys are also issued by `berrygate devices credentials`; with this, too, who sends needs
    one."""
    poll: tuple[PolledSettings, ...] = ()
    """Resources of other servers that are asked for again and again."""
    observe: tuple[ResourceSettings, ...] = ()
    """Resources of other servers that tell us when they change (RFC 7641)."""

    @model_validator(mode="after")
    def _resources(self) -> "CoapSettings":
        check_once(self.resources)
        for ids in (
            [key.client_id.lower() for key in self.keys],
            [key.device for key in self.keys],
        ):
            if shared := [each for each, count in Counter(ids).items() if count > 1]:
                raise wrong("keys", f'"{shared[0]}" is there twice', "change one")
        if self.multicast and self.host not in ("0.0.0.0", "::"):
            raise wrong("host", "multicast does not come to one address", "host: 0.0.0.0, or ::")
        if not self.serve and not self.resources and not self.multicast:
            raise wrong("serve", "nothing is left to do", "add poll: or observe:")
        return self

    @property
    def resources(self) -> tuple[ResourceSettings, ...]:
        """Those of other servers."""
        return (*self.poll, *self.observe)

    def build(self, name: str, context: Context) -> Device:
        """The driver. Raises ConfigError where keys cannot be used here."""
        if (self.keys or self.issued_keys) and find_spec("cryptography") is None:
            command = "pip install berrygate[oscore]"
            raise ConfigError(f"device {name}: keys need: {command}", fix=command)
        return CoapDevice(name, self, context)


class CoapDevice:
    """See the module. trouble: why nothing can be heard at the moment, or ""."""

    def __init__(self, name: str, settings: CoapSettings, context: Context) -> None:
        self.name = name
        self.trouble = "connecting" if settings.serve else ""
        self.denied = False
        self.retained = 0
        self._settings = settings
        self._context = context
        self._formats = Formats(settings.codec, context.codec)
        self._away: Counter[str] = Counter()
        self._asked = Answered(_PATIENCE, _HELD, self._away)
        self._server: Server | None = None
        self._keyring = Keyring(
            name, settings.keys, settings.issued_keys, context.data_dir / "coap" / name
        )
        self._refused: Counter[str] = Counter()  # by servers of ours that are closed
        self._neighbours = Neighbours(settings.multicast)
        self._sources = {each.url: each for each in settings.resources}
        self._commands = Commands(settings.resources, self._formats)
        self._resources: dict[str, Resource] = {
            url: Resource(url, partial(self._came, url), self._changed) for url in self._sources
        }

    @property
    def dropped(self) -> Mapping[str, int]:
        """See gateway.core.contracts.Watched."""
        now = self._server.messages.dropped if self._server is not None else Counter[str]()
        return self._away + self._refused + now

    @property
    def concern(self) -> str:
        """Which of the resources that we ask for cannot be had."""
        away = [each for each in self._resources.values() if each.trouble]
        if not away:
            return ""
        more = f" and {len(away) - 1} more" if len(away) > 1 else ""
        return f"{away[0].url}{more}: {away[0].trouble}"

    def details(self) -> dict[str, Any]:
        """More for status: where it listens, what it is at, what it did not even read, the
        resources it asks for, what can be told, and whom else it found."""
        server = self._server
        return {
            "listens": f"{self._settings.host}:{server.port}" if server is not None else None,
            "working": server.working if server is not None else 0,
            "ignored": server.ignored if server is not None else 0,
            "resources": [
                {
                    "url": each.url,
                    "device": self._sources[each.url].device,
                    "trouble": each.trouble or None,
                    "last": each.last // 1_000_000 or None,
                }
                for each in self._resources.values()
            ],
            "commands": self._commands.names,
            "found": self._neighbours.found,
            "concern": self.concern or None,
        }

    # -- how frames are read ------------------------------------------------------------------

    def device_of(self, topic: str) -> str:
        """The device's name in a topic. Raises DecodeError."""
        where, _, _ = topic.partition("#")
        if (source := self._sources.get(where)) is not None:
            return source.device
        head, _, device = where.removeprefix("/").partition("/")
        if head != TELEMETRY or not device:
            raise DecodeError(f'"{where}" is no resource that is asked for', reason="topic")
        return unquote(device)

    def codec_of(self, topic: str) -> Codec:
        """See gateway.core.contracts.CodecMapped."""
        where, _, written = topic.partition("#ct=")
        codec = self._formats.codec(int(written) if written else None)
        if codec is None:
            raise DecodeError(f"Content-Format {written} cannot be read", reason="format")
        source = self._sources.get(where)
        return codec if source is None else self._formats.named(codec, source.metric)

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured: each format has a codec of its own."""
        return self._formats.units(device)

    def reads(self, content_format: int | None) -> bool:
        """See gateway.io.coap.site.Taker."""
        return self._formats.codec(content_format) is not None

    async def take(self, device: str, content_format: int | None, payload: bytes) -> Result:
        """See gateway.io.coap.site.Taker."""
        return await self._asked.ask(topic_of(device, content_format), payload)

    # -- at work ------------------------------------------------------------------------------

    async def listen(self) -> AsyncIterator[Burst]:
        """What comes, as it comes."""
        asked = self._asked = Answered(_PATIENCE, _HELD, self._away)
        work = [self._serve()] if self._settings.serve else []
        if self._resources or self._settings.multicast:
            work.append(self._ask())
        tasks = [asyncio.create_task(each, name=f"coap {self.name}") for each in work]
        for task in tasks:
            task.add_done_callback(partial(_tell_failure, asked.fail))
        try:
            while True:
                yield await asked.take()
        finally:
            asked.closed = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        blocks = Blocks(self._context.payload, _PARTIAL)
        site = Site(self, blocks, self._context.facts.get("health", dict))
        with self._keyring.protected(site) as guarded:
            server = await self._opened(guarded)
            self._hearing("")
            try:
                await asyncio.Event().wait()
            finally:
                self.trouble = "stopped"
                await self._said_goodbye(server)
                self._refused += server.messages.dropped
                self._server = None

    def keyed(self) -> Sequence[str]:
        """See gateway.core.keys.Keyed."""
        return self._keyring.devices()

    def issue_key(self, device: str) -> Mapping[str, str]:
        """See gateway.core.keys.Keyed."""
        return self._keyring.issue(device, self.trouble)

    def revoke_key(self, device: str) -> None:
        """See gateway.core.keys.Keyed."""
        self._keyring.revoke(device, self.trouble)

    async def _opened(self, site: Any) -> Server:
        """Listen as soon as the address can be had."""
        settings, limit = self._settings, self._context.payload
        guard = Guard(settings.remote_rate, settings.remote_burst)
        while True:
            try:
                self._server = await serve(
                    site, settings.host, settings.port, guard, settings.requests, limit,
                    settings.multicast,
                )  # fmt: skip
            except OSError as error:
                where = f"{settings.host}:{settings.port}"
                self._hearing(f"cannot listen on {where}: {error.strerror or error}")
                await asyncio.sleep(_RETRY)
            else:
                return self._server

    async def _said_goodbye(self, server: Server) -> None:
        """Let those be answered whose readings are about to be stored: else they come again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _GOODBYE
        while self._asked.pending and loop.time() < until:  # noqa: ASYNC110 - several wait
            await asyncio.sleep(0.02)
        await server.context.shutdown()

    def _hearing(self, trouble: str) -> None:
        before, self.trouble = self.trouble, trouble
        if not trouble:
            port = self._server.port if self._server is not None else 0
            log.info("device %s: listening on %s:%d", self.name, self._settings.host, port)
            self._emit(Connected(kind="device", name=self.name, detail=self._settings.host))
        elif before != trouble:
            log.error("device %s: %s", self.name, trouble)
            self._emit(Disconnected(kind="device", name=self.name, reason=trouble))

    # -- resources of others ------------------------------------------------------------------

    async def _ask(self) -> None:
        context = await client()
        try:
            async with asyncio.TaskGroup() as group:
                for polled in self._settings.poll:
                    resource = self._resources[polled.url]
                    group.create_task(resource.poll(context, polled.interval))
                for observed in self._settings.observe:
                    group.create_task(self._resources[observed.url].observe(context))
                if self._settings.multicast:
                    group.create_task(self._neighbours.look(context, self._settings.look))
        finally:
            await context.shutdown()

    async def _came(self, url: str, content_format: int | None, payload: bytes) -> None:
        written = "" if content_format is None else f"#ct={content_format}"
        await self._asked.ask(url + written, payload)

    def _changed(self, url: str, trouble: str) -> None:
        if trouble:
            log.warning("device %s: %s: %s", self.name, url, trouble)
            self._emit(Disconnected(kind="device", name=self.name, reason=f"{url}: {trouble}"))
        else:
            log.info("device %s: %s answers", self.name, url)
            self._emit(Connected(kind="device", name=self.name, detail=url))

    def _emit(self, event: Connected | Disconnected) -> None:
        self._context.emit(event)

    # -- commands -----------------------------------------------------------------------------

    def commands(self, device: str) -> Mapping[str, Schema]:
        """See gateway.core.commands.Commandable."""
        return self._commands.schemas(device)

    async def execute(self, command: Command) -> Reply:
        """See gateway.core.contracts.Actuator."""
        return await self._commands.execute(command)


def _tell_failure(tell: Callable[[BaseException], None], task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        tell(error)
