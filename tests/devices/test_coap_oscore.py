"""Devices with keys (OSCORE), with aiocoap's own side of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from aiocoap import Message, oscore
from aiocoap.numbers.codes import Code
from pydantic import ValidationError

from devices.coap import CoapSettings
from tests.devices.test_coap import Listener, asking, listening
from tests.support import coap
from tests.support.coap import Client

SECRET = "0102030405060708090a0b0c0d0e0f10"
FIVE = {"device": "soil-5", "secret": SECRET[::-1], "client_id": "02"}
KEYS: list[dict[str, Any]] = [
    {
        "device": "soil-4", "secret": SECRET, "salt": "9e7ca922",
        "client_id": "01", "server_id": "53",
    },
    FIVE,
]  # fmt: skip


class Sealing:
    """A client that has the key of soil-4; its side of the protocol is aiocoap's."""

    def __init__(self, context: aiocoap.Context, directory: Path, port: int, secret: str) -> None:
        directory.mkdir(exist_ok=True)
        settings = {
            "sender-id_hex": "01", "recipient-id_hex": "53", "secret_hex": secret,
            "salt_hex": "9e7ca922",
        }  # fmt: skip
        (directory / "settings.json").write_text(json.dumps(settings))
        self.key = oscore.FilesystemSecurityContext(str(directory))
        self.asked_for_echo = 0
        self._context = context
        self._port = port

    async def ask(self, code: Code, path: str, payload: bytes = b"", **options: Any) -> Message:
        """The answer inside, or the outer one where that is not sealed."""
        uri = tuple(path.split("/"))
        inside = Message(code=code, payload=payload, uri_path=uri, **options)
        sealed, request_id = self.key.protect(inside)
        sealed.set_request_uri(f"coap://127.0.0.1:{self._port}", set_uri_host=False)
        answer = await self._context.request(sealed, handle_blockwise=False).response
        try:
            opened, _ = self.key.unprotect(answer, request_id)
        except oscore.NotAProtectedMessage:
            return answer
        if opened.code is Code.UNAUTHORIZED and opened.opt.echo is not None:
            self.asked_for_echo += 1
            return await self.ask(code, path, payload, echo=opened.opt.echo, **options)
        return opened

    async def post(self, device: str, payload: bytes, **options: Any) -> Code:
        """What telemetry is answered."""
        path = f"telemetry/{device}"
        answer = await self.ask(Code.POST, path, payload, content_format=50, **options)
        return answer.code


@asynccontextmanager
async def sealing(directory: Path, found: Listener, secret: str = SECRET) -> AsyncIterator[Sealing]:
    async with asking() as context:
        client = Sealing(context, directory, found.port, secret)
        yield client
        client.key._destroy()


async def test_a_device_with_its_key_is_answered_and_nobody_else(tmp_path: Path) -> None:
    async with listening(keys=KEYS, directory=tmp_path / "house") as found:
        async with sealing(tmp_path / "client", found) as client:
            for value in (b"1", b"2"):
                assert await client.post("soil-4", value) is Code.CHANGED
            assert await client.post("soil-5", b"3") is Code.FORBIDDEN
            blocks = [
                await client.post("soil-4", bytes(16), block1=(0, True, 0)),
                await client.post("soil-4", b"!", block1=(1, False, 0)),
            ]
            assert blocks == [Code.CONTINUE, Code.CHANGED]
            health = await client.ask(Code.GET, "health")
            assert health.payload.startswith(b'{"level"')
        with Client(found.port) as plain:
            answered = await asyncio.to_thread(plain.post, "soil-4", b"4")
            assert (answered.code, answered.payload) == ("4.01", b"OSCORE is needed")
            read = await asyncio.to_thread(plain.ask, coap.GET, "health")
            assert read.code == "2.05"
        assert [payload for _, payload in found.frames()] == [b"1", b"2", bytes(16) + b"!"]


async def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    async with listening(keys=KEYS, directory=tmp_path / "house") as found:
        async with sealing(tmp_path / "client", found, SECRET[::-1]) as client:
            assert await client.post("soil-4", b"1") is Code.BAD_REQUEST
        assert found.frames() == []


async def test_a_gateway_that_was_killed_asks_whether_it_is_no_replay(tmp_path: Path) -> None:
    house = tmp_path / "house"
    async with listening(keys=KEYS, directory=house) as found:
        port = found.port
        async with sealing(tmp_path / "client", found) as client:
            await client.post("soil-4", b"1")
            (used,) = house.rglob("sequence.json")
            killed = used.read_text()
            assert json.loads(killed)["received"] == "unknown"
            assert SECRET not in "".join(file.read_text() for file in house.rglob("*.json"))
    assert json.loads(used.read_text())["received"] != "unknown"
    used.write_text(killed)
    async with listening(keys=KEYS, directory=house, port=port) as found:
        async with sealing(tmp_path / "client", found) as client:
            assert await client.post("soil-4", b"2") is Code.CHANGED
            assert client.asked_for_echo == 1
        assert [payload for _, payload in found.frames()] == [b"2"]


async def test_what_was_recorded_and_is_sent_again_is_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(keys=KEYS, directory=tmp_path / "house") as found:
        recorded: list[bytes] = []
        interface = aiocoap.transports.udp6.MessageInterfaceUDP6
        send = interface.send

        def record(self: Any, message: Message) -> None:
            recorded.append(message.encode())
            send(self, message)

        monkeypatch.setattr(interface, "send", record)
        async with sealing(tmp_path / "client", found) as client:
            await client.post("soil-4", b"1")
        monkeypatch.undo()
        request = next(each for each in recorded if each[1] == coap.POST)
        assert await replayed(found, request)
        assert len(found.frames()) == 1
    async with listening(keys=KEYS, directory=tmp_path / "house") as found:
        assert await replayed(found, request), "it forgot when it was started again"
        assert found.frames() == []


async def replayed(found: Listener, request: bytes) -> bool:
    """Send it; whether that was noticed."""
    with Client(found.port) as plain:
        plain.send(request)
        answer = await asyncio.to_thread(plain.receive)
    return (answer.code, answer.payload) == ("4.01", b"Replay detected")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"secret": "00" * 15, "client_id": "01"}, "16 bytes"),
        ({"secret": SECRET, "client_id": "1"}, "pattern"),
        ({"secret": SECRET, "client_id": "00" * 8}, "14"),
        ({"secret": SECRET, "client_id": ""}, "one id"),
        ({"secret": SECRET, "client_id": "02"}, '"02" is there twice'),
        ({"secret": SECRET, "client_id": "03", "device": "soil-5"}, '"soil-5" is there twice'),
    ],
)
def test_keys_that_cannot_be(key: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CoapSettings.model_validate({"keys": [{"device": "a", **key}, FIVE]})
