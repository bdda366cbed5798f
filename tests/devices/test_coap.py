"""The CoAP device: answers, blocks, repeats, observers, limits; with real clients."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import Code
from pydantic import ValidationError

from devices.coap import CoapDevice, CoapSettings
from gateway.codecs.json import JsonSettings
from gateway.core.contracts import (
    Burst,
    Busy,
    Codec,
    CodecMapped,
    Context,
    Detailed,
    Device,
    Endpoint,
    Outcome,
    Rejected,
    Stored,
    TopicMapped,
    Value,
    Watched,
)
from gateway.core.errors import ConfigError, DecodeError
from gateway.core.events import Connected, Disconnected, Event
from gateway.core.settings import CodecSettings
from gateway.io.coap.formats import Formats
from tests.support import coap
from tests.support.coap import Client
from tests.support.ports import free_port

SOMETHING = {"url": "coap://x/a", "device": "a"}


class Bytes:
    """A codec that says how long a payload is."""

    def decode(
        self, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[int | None, dict[str, Value]]]:
        return [(None, {"bytes": float(len(payload))})]


def codec(name: str) -> Codec:
    if name != "cbor":
        raise ConfigError(f"no {name}")
    return Bytes()


class Listener:
    """A device at work, and what came of it. outcome: of each burst; None keeps it waiting."""

    def __init__(
        self, payload: int = 256_000, directory: Path = Path("/nonexistent"), **settings: Any
    ) -> None:
        self.events: list[Event] = []
        self.bursts: list[Burst] = []
        self.outcome: Callable[[Burst], Outcome | None] = lambda burst: Stored()
        self.health = {"level": "GOOD", "score": 84, "time": 1}
        context = Context(
            "gw", "berrygate", directory, Endpoint(), self.events.append, payload,
            facts={"health": lambda: self.health}, codec=codec,
        )  # fmt: skip
        settings = {"port": 0, **settings}
        built = CoapSettings.model_validate(settings).build("coap", context)
        assert isinstance(built, CoapDevice)
        self.device = built

    async def pump(self) -> None:
        async for burst in self.device.listen():
            self.bursts.append(burst)
            outcome = self.outcome(burst)
            if outcome is not None:
                burst.done(outcome)

    @property
    def port(self) -> int:
        return int(self.device.details()["listens"].rpartition(":")[2])

    def frames(self) -> list[tuple[str, bytes]]:
        return [
            (topic, payload)
            for burst in self.bursts
            for topic, payload in zip(burst.topics, burst.payloads, strict=True)
        ]

    def uri(self, path: str) -> str:
        return f"coap://127.0.0.1:{self.port}/{path}"


@asynccontextmanager
async def listening(**settings: Any) -> AsyncIterator[Listener]:
    found = Listener(**settings)
    task = asyncio.create_task(found.pump())
    await until(lambda: found.device.trouble != "connecting")
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def asking() -> AsyncIterator[aiocoap.Context]:
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    try:
        yield context
    finally:
        await context.shutdown()


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def post(context: aiocoap.Context, uri: str, payload: bytes, **options: Any) -> Message:
    options = {"content_format": 50, **options}
    request = Message(code=options.pop("code", Code.POST), uri=uri, payload=payload, **options)
    return await context.request(request).response


def test_it_keeps_the_contracts() -> None:
    device = Listener().device
    for contract in (Device, Watched, Detailed, TopicMapped, CodecMapped):
        assert isinstance(device, contract), contract


async def test_what_is_posted_or_put_is_a_frame_and_is_answered_once_it_is_stored() -> None:
    async with listening() as found, asking() as context:
        told: list[Outcome] = []
        found.outcome = lambda burst: None
        sent = asyncio.create_task(post(context, found.uri("telemetry/soil-4"), b'{"n": 1}'))
        await until(lambda: bool(found.bursts))
        await asyncio.sleep(0.2)
        assert not sent.done(), "answered before it was stored"
        burst = found.bursts[0]
        assert not burst.patient
        burst.done(Stored())
        assert (await sent).code is Code.CHANGED
        found.outcome = lambda burst: Stored()
        answer = await post(context, found.uri("telemetry/s%C3%BC%2F1"), b"2", code=Code.PUT)
        assert answer.code is Code.CHANGED
        assert [found.device.device_of(topic) for topic, _ in found.frames()] == ["soil-4", "sü/1"]
        assert [payload for _, payload in found.frames()] == [b'{"n": 1}', b"2"]
        assert told == []


@pytest.mark.parametrize(
    ("outcome", "code", "options"),
    [
        (Stored({0: Rejected("malformed", "not JSON")}), "4.00", {}),
        (Stored({0: Rejected("rate", "too many")}), "4.29", {coap.MAX_AGE: 5}),
        (Stored({0: Rejected("too_large", "payload")}), "4.13", {coap.SIZE1: 256_000}),
        (Stored({0: Rejected("too_many_devices", "one too many")}), "5.03", {coap.MAX_AGE: 60}),
        (Stored({1: Rejected("malformed", "another")}), "2.04", {}),
        (Busy(7.0), "5.03", {coap.MAX_AGE: 7}),
    ],
)
async def test_each_outcome_has_its_answer(
    outcome: Outcome, code: str, options: dict[int, int]
) -> None:
    async with listening() as found:
        found.outcome = lambda burst: outcome
        with Client(found.port) as client:
            answer = await asyncio.to_thread(client.post, "a", b"{}")
        assert answer.code == code
        for option, value in options.items():
            assert answer.number(option) == value
        if code == "4.00":
            assert answer.payload == b"not JSON"


async def test_a_diagnostic_is_short() -> None:
    async with listening() as found:
        found.outcome = lambda burst: Stored({0: Rejected("malformed", "ü" * 500)})
        with Client(found.port) as client:
            answer = await asyncio.to_thread(client.post, "a", b"{}")
        assert answer.payload == "ü".encode() * 60


async def test_the_content_format_chooses_the_codec() -> None:
    async with listening() as found, asking() as context:
        uri = found.uri("telemetry/a")
        for written, code in ((50, "2.04"), (60, "2.04"), (112, "4.15"), (41, "4.15")):
            answer = await post(context, uri, b"\xa0", content_format=written)
            assert str(answer.code).startswith(code), written
        await post(context, uri, b"1", content_format=None)
        decoded = [
            list(found.device.codec_of(topic).decode("a", b"7", 0)) for topic, _ in found.frames()
        ]
        assert decoded == [
            [(None, values)] for values in ({"value": 7.0}, {"bytes": 1.0}, {"value": 7.0})
        ]
        with pytest.raises(DecodeError):
            found.device.codec_of("/telemetry/a#ct=112")


async def test_a_repeated_message_is_one_frame_and_gets_the_same_answer() -> None:
    async with listening() as found:
        data = coap.message(coap.POST, "telemetry/a", b"1", mid=77)

        def twice() -> list[coap.Answer]:
            with Client(found.port) as client:
                client.send(data)
                client.send(data)
                first = list(client.answers())
                client.send(data)
                return first + list(client.answers())

        answers = await asyncio.to_thread(twice)
        assert len(found.frames()) == 1
        assert {(each.code, each.mid, each.kind) for each in answers} == {("2.04", 77, coap.ACK)}
        assert len(answers) >= 2


async def test_an_old_message_id_with_other_content_is_something_new() -> None:
    """A sensor that counts from the same id each time it wakes up, from the same port."""
    async with listening() as found:

        def two() -> list[str]:
            with Client(found.port) as client:
                codes = []
                for value in (b"1", b"2"):
                    client.send(coap.message(coap.POST, "telemetry/a", value, mid=77))
                    codes.append(client.receive().code)
                return codes

        assert await asyncio.to_thread(two) == ["2.04", "2.04"]
        assert [payload for _, payload in found.frames()] == [b"1", b"2"]


async def test_an_unconfirmable_message_is_answered_likewise() -> None:
    async with listening() as found:
        data = coap.message(coap.POST, "telemetry/a", b"1", kind=coap.NON)
        with Client(found.port) as client:
            client.send(data)
            answer = await asyncio.to_thread(client.receive)
        assert (answer.code, answer.kind) == ("2.04", coap.NON)


async def test_a_payload_in_blocks_is_one_frame() -> None:
    payload = bytes(range(256)) * 20
    async with listening() as found, asking() as context:
        answer = await post(context, found.uri("telemetry/a"), payload)
        assert answer.code is Code.CHANGED
        assert [data for _, data in found.frames()] == [payload]


async def test_blocks_of_sixteen_bytes_and_one_that_is_missing() -> None:
    async with listening() as found:

        def send() -> list[str]:
            codes = []
            with Client(found.port) as client:
                for place, more in ((0, 1), (1, 1), (2, 0), (0, 1), (2, 0)):
                    size = 16 if more else 3
                    block = coap.number(place << 4 | more << 3)
                    answer = client.ask(
                        coap.POST,
                        "telemetry/a",
                        bytes([65 + place]) * size,
                        ((coap.BLOCK1, block),),
                    )
                    codes.append(answer.code)
            return codes

        assert await asyncio.to_thread(send) == ["2.31", "2.31", "2.04", "2.31", "4.08"]
        assert [data for _, data in found.frames()] == [b"A" * 16 + b"B" * 16 + b"CCC"]


async def test_what_is_too_large_is_refused_at_the_first_block() -> None:
    async with listening(payload=2_000) as found, asking() as context:
        uri = found.uri("telemetry/a")
        answer = await post(context, uri, bytes(3_000))
        assert (answer.code, answer.opt.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, 2_000)

        def growing() -> list[str]:
            with Client(found.port) as client:
                return [
                    client.ask(
                        coap.POST, "telemetry/a", bytes(1024),
                        ((coap.BLOCK1, coap.number(place << 4 | 8 | 6)),),
                    ).code
                    for place in range(2)
                ]  # fmt: skip

        assert await asyncio.to_thread(growing) == ["2.31", "4.13"]
        datagram = coap.message(coap.POST, "telemetry/a", bytes(1_990))
        with Client(found.port) as client:
            client.send(datagram)
            assert (await asyncio.to_thread(client.receive)).code == "2.04"
            client.send(coap.message(coap.POST, "telemetry/a", bytes(6_000), mid=2))
            assert (await asyncio.to_thread(client.receive)).code == "4.13"
        assert found.device.dropped["too_large"] == 1


async def test_what_there_is_besides() -> None:
    async with listening() as found, asking() as context:
        answer = await context.request(Message(code=Code.GET, uri=found.uri("health"))).response
        assert answer.payload == b'{"level":"GOOD","score":84}'
        core = Message(code=Code.GET, uri=found.uri(".well-known/core"))
        answer = await context.request(core).response
        assert answer.opt.content_format == 40
        assert b"</telemetry>" in answer.payload
        assert b"</health>" in answer.payload
        for code, path, expected in (
            (Code.GET, "nothing", Code.NOT_FOUND),
            (Code.POST, "telemetry", Code.NOT_FOUND),
            (Code.POST, "telemetry/a/b", Code.NOT_FOUND),
            (Code.GET, "telemetry/a", Code.METHOD_NOT_ALLOWED),
            (Code.POST, "health", Code.METHOD_NOT_ALLOWED),
        ):
            answer = await context.request(Message(code=code, uri=found.uri(path))).response
            assert answer.code is expected, path
        with Client(found.port) as client:
            for option, expected_code in ((9_999, "4.02"), (35, "5.05")):
                answered = await asyncio.to_thread(
                    client.ask, coap.GET, "health", b"", ((option, b"x"),)
                )
                assert answered.code == expected_code
            small = await asyncio.to_thread(
                client.ask, coap.GET, "health", b"", ((coap.BLOCK2, coap.number(1 << 4)),)
            )
            assert small.payload == b'{"level":"GOOD","score":84}'[16:]


async def test_health_is_observed() -> None:
    async with listening() as found, asking() as context:
        request = context.request(Message(code=Code.GET, uri=found.uri("health"), observe=0))
        first = await request.response
        assert first.opt.observe is not None
        notifications = aiter(request.observation)
        found.health = {"level": "CRITICAL", "score": 12}
        async with asyncio.timeout(10):
            told = await anext(notifications)
        assert told.payload == b'{"level":"CRITICAL","score":12}'
        assert told.opt.observe > first.opt.observe


async def test_an_observer_that_is_gone_is_told_no_more() -> None:
    async with listening() as found:
        observe = coap.message(coap.GET, "health", options=((coap.OBSERVE, b""),))
        with Client(found.port) as says_so, Client(found.port) as leaves:
            for client in (says_so, leaves):
                client.send(observe)
                assert (await asyncio.to_thread(client.receive)).code == "2.05"
            assert found.device.details()["working"] == 2
            leaves.__exit__()
            found.health = {"level": "CRITICAL", "score": 12}
            told = await asyncio.to_thread(says_so.receive)
            assert (told.code, told.kind) == ("2.05", coap.CON)
            says_so.send(bytes([0x70, 0]) + told.mid.to_bytes(2, "big"))
            await until(lambda: found.device.details()["working"] == 0)


async def test_requests_at_a_time_are_bounded_and_the_rest_is_sent_away() -> None:
    async with listening(requests=5) as found:
        found.outcome = lambda burst: None

        def send() -> list[str]:
            with Client(found.port) as client:
                for mid in range(9):
                    token = bytes([mid])
                    client.send(coap.message(coap.POST, "telemetry/a", b"1", mid, token=token))
                return [each.code for each in client.answers(0.4)]

        assert await asyncio.to_thread(send) == ["5.03"] * 4
        assert found.device.dropped == {"busy": 4}
        for burst in found.bursts:
            burst.done(Stored())


async def test_a_flood_from_one_address_is_refused_and_then_not_read() -> None:
    async with listening(remote_rate=20, remote_burst=50) as found:

        def flood() -> list[str]:
            with Client(found.port) as client:
                for mid in range(500):
                    token = mid.to_bytes(2, "big")
                    client.send(coap.message(coap.POST, "telemetry/a", b"1", mid, token=token))
                return [each.code for each in client.answers()]

        codes = await asyncio.to_thread(flood)
        assert 50 <= codes.count("2.04") <= 80
        assert 1 <= codes.count("4.29") <= 20
        assert found.device.dropped["rate"] == codes.count("4.29")
        assert found.device.details()["ignored"] > 300


async def test_garbage_harms_nobody() -> None:
    async with listening() as found:

        def send() -> str:
            with Client(found.port) as client:
                for garbage in (b"", b"\x00", b"\x40\x02", b"\x4f\x02\x00\x01" + bytes(20)):
                    client.send(garbage)
                client.send(b"\x40\x02\x00\x01\xb4\xff\xfe\xfd\xfc")  # a path that is no UTF-8
                client.send(b"\x40\xe8\x00\x02")  # a code that there is not
                client.send(b"\x60\x00\x12\x34")  # acknowledges nothing
                return client.post("a", b"1").code

        assert await asyncio.to_thread(send) == "2.04"
        assert found.device.details()["ignored"] >= 4


async def test_a_disk_that_refuses_is_said_after_a_while_and_then_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("devices.coap._PATIENCE", 0.3)
    async with listening() as found:
        found.outcome = lambda burst: None
        with Client(found.port) as client:
            assert (await asyncio.to_thread(client.post, "a", b"1")).code == "5.03"
            assert (await asyncio.to_thread(client.post, "a", b"2")).code == "5.03"
            assert [payload for _, payload in found.frames()] == [b"1"]
            found.outcome = lambda burst: Stored()
            found.bursts[0].done(Stored())
            assert (await asyncio.to_thread(client.post, "a", b"3")).code == "2.04"
        assert found.device.dropped == {"busy": 1}


async def test_a_port_that_is_taken_is_said_and_had_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.coap._RETRY", 0.1)
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        async with listening(port=port) as found:
            assert f"cannot listen on 127.0.0.1:{port}" in found.device.trouble
            assert [type(event) for event in found.events] == [Disconnected]
            other.close()
            await until(lambda: found.device.trouble == "")
            assert [type(event) for event in found.events] == [Disconnected, Connected]
    async with listening(port=port):  # it was given back
        pass


async def test_two_servers_do_not_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as first, listening(port=first.port) as second:
        assert "cannot listen" in second.device.trouble


async def test_who_waits_is_answered_before_it_ends() -> None:
    found = Listener()
    task = asyncio.create_task(found.pump())
    await until(lambda: found.device.trouble == "")
    found.outcome = lambda burst: None
    with Client(found.port) as client:
        asked = asyncio.create_task(asyncio.to_thread(client.post, "a", b"1"))
        await until(lambda: bool(found.bursts))
        asyncio.get_running_loop().call_later(0.2, found.bursts[0].done, Stored())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await asked).code == "2.04"


async def test_two_hundred_devices_at_once() -> None:
    async with listening() as found:
        codes: list[str] = []

        def send(number: int) -> None:
            with Client(found.port) as client:
                codes.append(client.post(f"d{number}", b'{"n": %d}' % number).code)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(200)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert codes == ["2.04"] * 200
        assert len({topic for topic, _ in found.frames()}) == 200
        assert len(found.frames()) == 200


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"poll": [{"url": "http://x/", "device": "a"}]}, "coap://HOST/PATH"),
        ({"poll": [{"url": "coap://x:70000/", "device": "a"}]}, "Port"),
        ({"observe": [{"url": "coap://x/a", "device": ""}]}, "at least 1"),
        ({"serve": False}, "nothing is left"),
        ({"poll": [SOMETHING], "observe": [SOMETHING]}, "twice"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CoapSettings.model_validate(settings)


class WordSettings(CodecSettings):
    """As the codec of a house that knows its text."""

    type: str = "text"

    def build(self) -> Codec:
        return Bytes()


def test_its_own_codec_reads_what_says_nothing_and_what_is_of_its_kind() -> None:
    formats = Formats(WordSettings(), codec)
    for number in (None, 0):
        assert isinstance(formats.codec(number), Bytes)
    assert formats.codec(50) is None


def test_text_of_which_nothing_is_known_is_a_bare_value() -> None:
    found = Formats(JsonSettings(), codec).codec(0)
    assert found is not None
    assert list(found.decode("a", b"21.5", 0)) == [(None, {"value": 21.5})]
