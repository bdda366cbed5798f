"""What CoAP devices are told: the servers are aiocoap's, or a socket where nobody answers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
import pytest
from aiocoap import Message, resource
from aiocoap.numbers.codes import BAD_REQUEST, CHANGED, CONTENT
from aiocoap.numbers.types import CON
from pydantic import ValidationError

from devices.coap import CoapSettings
from gateway.core.commands import Commandable
from gateway.core.contracts import Actuator, Command, Reply
from tests.devices.test_coap import Listener, listening, until
from tests.devices.test_coap_client import Thermometer, server
from tests.support.coap import PUT, libcoap_server, parse
from tests.support.ports import free_port


class Lamp(resource.Resource):
    """Takes everything but DELETE. asked: what came. answer: what is said to it, after so long (s).
    most: how many it ever worked on at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Message] = []
        self.answer: dict[str, Any] = {}
        self.takes = 0.0
        self.most = 0
        self._working = 0

    async def render_put(self, request: Message) -> Message:
        self._working += 1
        self.most = max(self.most, self._working)
        self.asked.append(request)
        await asyncio.sleep(self.takes)
        self._working -= 1
        return Message(**{"code": CHANGED, **self.answer})

    render_post = render_put
    render_get = render_put

    @property
    def payloads(self) -> list[bytes]:
        return [request.payload for request in self.asked]


class Deaf(asyncio.DatagramProtocol):
    """A server that answers nothing but, where it is told to, PUT: with 2.04, or a reset. heard:
    every datagram."""

    def __init__(self, says: str = "") -> None:
        self.heard: list[bytes] = []
        self._says = says

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.heard.append(data)
        found = parse(data)
        if self._says == "changed" and data[1] == PUT:
            head = bytes([0x60 | len(found.token), 0x44])
            self._transport.sendto(head + data[2:4] + found.token, address)
        elif self._says == "reset":
            self._transport.sendto(b"\x70\0" + data[2:4], address)


@asynccontextmanager
async def deaf(says: str = "") -> AsyncIterator[tuple[int, Deaf]]:
    loop = asyncio.get_running_loop()
    transport, found = await loop.create_datagram_endpoint(
        lambda: Deaf(says), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1], found
    finally:
        transport.close()


def uri(port: int, path: str = "light") -> str:
    return f"coap://127.0.0.1:{port}/{path}"


def telling(port: int, **commands: Any) -> Listener:
    """A device that is asked once an hour, for whatever it may be told."""
    polled = {"url": uri(port), "device": "lamp", "interval": "1h", "commands": commands}
    return Listener(serve=False, poll=[polled])


async def tell(found: Listener, name: str = "light", within: float = 0, **args: Any) -> Reply:
    expires = time.time_ns() + int(within * 1e9) if within else 0
    return await found.device.execute(Command(name, args, "1", expires, "lamp"))


LIGHT = {"payload": '{"on": {on}}'}


def test_it_keeps_the_contracts() -> None:
    found = telling(1, light=LIGHT, off={"payload": "off", "format": "text"})
    assert isinstance(found.device, Actuator)
    assert isinstance(found.device, Commandable)
    schemas = found.device.commands("lamp")
    assert schemas["off"]["required"] == []
    assert schemas["light"]["properties"]["on"]["type"] == ["number", "string", "boolean"]
    assert found.device.commands("shed") == {}
    assert found.device.details()["commands"] == {"lamp": ["light", "off"]}


async def test_a_lamp_is_told_and_what_it_says_is_the_result() -> None:
    port, lamp = free_port(), Lamp()
    lamp.answer = {"payload": b'{"on": true}', "content_format": 50}
    async with server(port, ("light", lamp)):
        reply = await tell(telling(port, light=LIGHT), on=True)
    assert reply == Reply("ok", {"on": True})
    (request,) = lamp.asked
    assert (request.code, request.mtype) == (aiocoap.PUT, CON)
    assert (request.payload, request.opt.content_format) == (b'{"on": true}', 50)


@pytest.mark.parametrize(
    ("settings", "code", "payload", "written"),
    [
        ({"method": "POST"}, "POST", b"", None),
        ({"method": "GET"}, "GET", b"", None),
        ({"payload": "on\\n", "format": "text"}, "PUT", b"on\n", 0),
        ({"payload": "hex:0001ff", "format": "octets"}, "PUT", b"\0\1\xff", 42),
        ({"payload": "[1]", "format": "cbor", "method": "POST"}, "POST", cbor2.dumps([1]), 60),
    ],
)
async def test_methods_and_formats(
    settings: dict[str, Any], code: str, payload: bytes, written: int | None
) -> None:
    port, lamp = free_port(), Lamp()
    async with server(port, ("light", lamp)):
        assert await tell(telling(port, light=settings)) == Reply("ok")
    (request,) = lamp.asked
    assert request.code is getattr(aiocoap, code)
    assert (request.payload, request.opt.content_format) == (payload, written)


@pytest.mark.parametrize(
    ("payload", "written", "result"),
    [
        (b"", None, None),
        (b'{"level": [1]}', None, {"level": [1]}),
        (b'{"level"', 50, '{"level"'),
        (b"it is\non", None, "it is on"),
        (b"21", 0, "21"),
        (b"abcd", 60, {"bytes": 4.0}),
        (b"\xff\xd8", 42, "\\xff\\xd8"),
    ],
)
async def test_answers(payload: bytes, written: int | None, result: Any) -> None:
    port, lamp = free_port(), Lamp()
    lamp.answer = {"payload": payload, "content_format": written, "code": CONTENT}
    async with server(port, ("light", lamp)):
        assert await tell(telling(port, light={})) == Reply("ok", result)


async def test_what_is_larger_than_a_datagram() -> None:
    port, lamp = free_port(), Lamp()
    names = [f"a{number}" for number in range(8)]
    payload = f"[{', '.join(f'{{{name}}}' for name in names)}]"
    lamp.answer = {"payload": b"x" * 5_000}
    async with server(port, ("light", lamp)):
        found = telling(port, light={"payload": payload})
        reply = await tell(found, **dict.fromkeys(names, "y" * 250))
    assert reply == Reply("ok", "x" * 5_000)
    assert len(lamp.payloads[0]) > 2_000


async def test_refused_by_the_server() -> None:
    port, lamp = free_port(), Lamp()
    lamp.answer = {"code": BAD_REQUEST, "payload": b"no such\ncolour"}
    commands = {"delete": {"method": "DELETE"}, "nowhere": {"url": uri(port, "x")}, "light": {}}
    async with server(port, ("light", lamp)):
        found = telling(port, **commands)
        replies = [await tell(found, name) for name in commands]
    assert [reply.status for reply in replies] == ["failed"] * 3
    method, nowhere, light = (reply.error for reply in replies)
    assert method.startswith("it answers 4.05 Method Not Allowed")
    assert nowhere.startswith("it answers 4.04 Not Found")
    assert light == "it answers 4.00 Bad Request: no such colour"


async def test_a_server_that_is_away() -> None:
    found = telling(free_port(), light=LIGHT, far={"url": "coap://nowhere.invalid/x"})
    assert await tell(found, on=1) == Reply("failed", error="Connection refused")
    far = await tell(found, "far")
    assert far.status == "failed"
    assert "may have been done" not in far.error
    async with deaf("reset") as (port, _):
        reset = await tell(telling(port, light=LIGHT), on=1)
    assert reset == Reply("failed", error="it refused the message (RST)")


async def test_libcoaps_server_is_told_and_answers_later(tmp_path: Path) -> None:
    """Its /async acknowledges at once, and answers with a message of its own."""
    port = free_port()
    commands = {
        "write": {"payload": "{words}", "format": "text"},
        "wait": {"method": "GET", "url": uri(port, "async?1")},
    }
    polled = {
        "url": uri(port, "example_data"), "device": "lamp", "interval": "200ms",
        "commands": commands,
    }  # fmt: skip
    with libcoap_server(port, tmp_path / "server.log"):
        async with listening(serve=False, poll=[polled]) as found:
            await until(lambda: found.device.details()["resources"][0]["last"] is not None)
            assert await tell(found, "write", words="7 lamps") == Reply("ok")
            await until(lambda: [said for _, said in found.frames()][-1:] == [b"7 lamps"])
            assert await tell(found, "wait") == Reply("ok", "done")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({}, "missing: on"),
        ({"on": 1, "off": 2}, 'no argument "off"; known: on'),
        ({"on": None}, "on: expected number or string or boolean"),
        ({"on": [1]}, "on: expected number or string or boolean"),
        ({"on": float("nan")}, "on: expected number or string or boolean"),
        ({"on": "x" * 257}, "on: expected at most 256 characters"),
        ({"on": "\ud800"}, "surrogates not allowed"),
    ],
)
async def test_arguments_that_do_not_fit(args: dict[str, Any], why: str) -> None:
    async with deaf() as (port, silent):
        reply = await tell(telling(port, light=LIGHT), **args)
        assert reply.status == "rejected"
        assert why in reply.error
        line = await tell(telling(port, light={"payload": "{on}", "format": "text"}), on="a\nb")
        assert line.status == "rejected"
        await asyncio.sleep(0.1)
        assert silent.heard == []


async def test_an_argument_is_no_more_than_a_value() -> None:
    port, lamp = free_port(), Lamp()
    evil = 'x", "mode": "all'
    settings = {"payload": '{"who": "by {who}", "on": {who}}'}
    async with server(port, ("light", lamp)):
        found = telling(port, light=settings, packed={**settings, "format": "cbor"})
        await tell(found, who=evil)
        await tell(found, "packed", who=evil)
    written = b'{"who": "by x\\", \\"mode\\": \\"all", "on": "x\\", \\"mode\\": \\"all"}'
    assert lamp.payloads[0] == written
    assert cbor2.loads(lamp.payloads[1]) == {"who": f"by {evil}", "on": evil}


async def test_a_device_of_several_resources_can_be_told_all_of_it() -> None:
    port, thing, lamp = free_port(), Thermometer(), Lamp()
    sources = {
        "poll": [{"url": uri(port, "t"), "device": "lamp", "commands": {"light": LIGHT | {}}}],
        "observe": [
            {"url": uri(port, "o"), "device": "lamp", "commands": {"dim": {"url": uri(port)}}},
            {"url": uri(port, "q"), "device": "shed"},
        ],
    }
    things = [(path, thing) for path in "toq"]
    async with (
        server(port, *things, ("light", lamp)),
        listening(serve=False, **sources) as found,
    ):
        await until(lambda: len(found.frames()) >= 3)
        assert set(found.device.commands("lamp")) == {"light", "dim"}
        assert await tell(found, "dim") == Reply("ok")
        assert "4.05" in (await tell(found, on=1)).error  # as the resource that is asked
    unknown = await tell(found, "fly")
    assert unknown == Reply("rejected", error='no command "fly"; known: dim, light')
    shed = await found.device.execute(Command("dim", device="shed"))
    assert shed == Reply("rejected", error='no command "dim"; known: none')


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ({"light": {"url": "http://x/y"}}, "expected coap://HOST/PATH"),
        ({"light": {"url": "coap://lamp..local/y"}}, "label empty"),
        ({"light": {"url": "coap://me@lamp/y"}}, "User name"),
        ({"light": {"url": "coap://lamp/%ff"}}, "UTF-8"),
        ({"light": {"payload": '{"on": on}'}}, "no JSON"),
        ({"light": {"payload": '{"{on}": 1}'}}, "an argument cannot be a key"),
        ({"light": {"payload": "{on", "format": "text"}}, "a brace stands alone"),
        ({"light": {"payload": "1", "method": "GET"}}, "GET sends none"),
        ({"light": {"method": "PATCH"}}, "'PUT', 'POST', 'GET' or 'DELETE'"),
        ({"light": {"timeout": "51s"}}, "50"),
        ({"light": {"write": "x"}}, "Extra inputs"),
        ({"Light!": {}}, "pattern"),
    ],
)
def test_settings_that_cannot_be(commands: dict[str, Any], why: str) -> None:
    polled = {"url": "coap://x/a", "device": "lamp", "commands": commands}
    with pytest.raises(ValidationError, match=why):
        CoapSettings.model_validate({"poll": [polled]})


def test_a_command_has_one_meaning() -> None:
    commands = {"light": {}}
    both = [{"url": f"coap://x/{n}", "device": "lamp", "commands": commands} for n in "ab"]
    with pytest.raises(ValidationError, match='command "light" of lamp is there twice'):
        CoapSettings.model_validate({"poll": both[:1], "observe": both[1:]})
    both[1]["device"] = "other"
    CoapSettings.model_validate({"poll": both[:1], "observe": both[1:]})
