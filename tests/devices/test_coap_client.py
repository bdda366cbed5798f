"""Resources of other CoAP servers, asked for and observed; servers are libcoap's and aiocoap's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiocoap
import pytest
from aiocoap import Message, resource

from gateway.core.events import Connected, Disconnected
from tests.devices.test_coap import Listener, listening, until
from tests.support.coap import libcoap_server
from tests.support.ports import free_port


class Thermometer(resource.ObservableResource):
    """A resource whose value a test sets. asked: how often it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.value = b"21.5"
        self.max_age = 60
        self.asked = 0

    async def render_get(self, request: Message) -> Message:
        self.asked += 1
        return Message(payload=self.value, content_format=50, max_age=self.max_age)


@asynccontextmanager
async def server(port: int, *things: tuple[str, resource.Resource]) -> AsyncIterator[None]:
    site = resource.Site()
    for path, thing in things:
        site.add_resource((path,), thing)
    context = await aiocoap.Context.create_server_context(
        site, ("127.0.0.1", port), transports=["udp6"]
    )
    try:
        yield
    finally:
        await context.shutdown()


def at(port: int, path: str = "t", **more: object) -> dict[str, object]:
    return {"url": f"coap://127.0.0.1:{port}/{path}", "device": "shed", **more}


def values(found: Listener) -> list[float]:
    return [
        reading["temperature"]
        for topic, payload in found.frames()
        for _, reading in found.device.codec_of(topic).decode("shed", payload, 0)
    ]


async def test_a_resource_is_asked_for_again_and_again() -> None:
    port, thing = free_port(), Thermometer()
    async with server(port, ("t", thing)):
        polled = at(port, interval="200ms", metric="temperature")
        async with listening(serve=False, poll=[polled]) as found:
            await until(lambda: len(found.frames()) >= 3)
            thing.value = b"22"
            await until(lambda: values(found)[-1] == 22.0)
            assert values(found)[0] == 21.5
            topics = {topic for topic, _ in found.frames()}
            assert {found.device.device_of(topic) for topic in topics} == {"shed"}
            assert found.device.concern == ""
            assert found.device.details()["resources"][0]["last"] is not None


async def test_an_observed_resource_tells_when_it_changes() -> None:
    port, thing = free_port(), Thermometer()
    observed = [at(port, metric="temperature")]
    async with server(port, ("t", thing)), listening(serve=False, observe=observed) as found:
        await until(lambda: values(found) == [21.5])
        for value in (b"22", b"23"):
            thing.value = value
            thing.updated_state()
            await until(lambda value=value: values(found)[-1] == float(value))
        assert values(found) == [21.5, 22.0, 23.0]


async def test_a_server_that_vanishes_is_said_and_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.io.coap.client._MOST", 0.5)
    port, thing = free_port(), Thermometer()
    sources = {
        "poll": [at(port, "t", interval="200ms", metric="temperature")],
        "observe": [at(port, "o", metric="temperature")],
    }
    async with listening(serve=False, **sources) as found:
        await until(lambda: all(each["trouble"] for each in found.device.details()["resources"]))
        assert "and 1 more" in found.device.concern
        assert all(isinstance(event, Disconnected) for event in found.events)
        for value in (b"1", b"2"):
            thing.value = value
            async with server(port, ("t", thing), ("o", thing)):
                await until(lambda: not found.device.concern)
                await until(lambda value=value: values(found).count(float(value)) >= 2)
            await until(lambda: bool(found.device.concern))
        assert any(isinstance(event, Connected) for event in found.events)


async def test_a_server_that_is_away_is_asked_less_and_less_often() -> None:
    polled = at(free_port(), interval="100ms")
    async with listening(serve=False, poll=[polled]) as found:
        await asyncio.sleep(2.5)
        assert 1 <= found.device._resources[str(polled["url"])]._failures <= 4


async def test_a_server_that_forgot_who_observes_it_is_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was restarted between two changes: nothing is lost on the wire, and nothing comes."""
    monkeypatch.setattr("gateway.io.coap.client._SLACK", 0.5)
    port, thing = free_port(), Thermometer()
    thing.max_age = 1
    async with listening(serve=False, observe=[at(port, metric="temperature")]) as found:
        async with server(port, ("t", thing)):
            await until(lambda: 21.5 in values(found))
        other = Thermometer()
        other.value = b"7"
        async with server(port, ("t", other)):
            await until(lambda: 7.0 in values(found))


async def test_a_server_that_says_no_is_no_reading() -> None:
    port = free_port()
    async with server(port, ("other", Thermometer())):
        polled = at(port, "t", interval="200ms")
        async with listening(serve=False, poll=[polled]) as found:
            await until(lambda: "4.04" in found.device.concern)
            assert found.frames() == []


async def test_a_server_that_is_not_there_does_not_stop_the_others() -> None:
    port, thing = free_port(), Thermometer()
    async with server(port, ("t", thing)):
        sources = [
            at(free_port(), "a", interval="200ms"),
            {"url": "coap://nowhere.invalid/x", "device": "b", "interval": "200ms"},
            at(port, "t", interval="200ms", metric="temperature"),
        ]
        async with listening(poll=sources) as found:
            await until(lambda: len(found.frames()) >= 3)
            await until(lambda: "and 1 more" in found.device.concern)


@pytest.mark.timeout(120)
async def test_libcoaps_clock_is_observed_also_after_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.io.coap.client._MOST", 1.0)
    monkeypatch.setattr("gateway.io.coap.client._SLACK", 1.0)
    port = free_port()
    observed = [{**at(port, "time"), "device": "clock"}]
    async with listening(serve=False, observe=observed) as found:
        for _ in range(2):
            before = len(found.frames())
            with libcoap_server(port, tmp_path / "server.log"):
                await until(lambda before=before: len(found.frames()) >= before + 3)
            began = time.monotonic()
            await until(lambda: bool(found.device.concern), 60)
            assert time.monotonic() - began < 60
        await asyncio.sleep(0)
