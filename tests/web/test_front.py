"""What is in front of the API: probes answered without it, and the way to it."""

import asyncio

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.web.application import application
from gateway.web.front import Front
from gateway.web.plain import Plain
from tests.support.small_house import SmallHouse

PROBES = ("/healthz", "/readyz", "/metrics")


def client(app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


class Loader:
    """Loads what answers every path with its name; counts how often it is asked to."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    def __call__(self) -> ASGIApp:
        self.times += 1
        if self.error is not None:
            raise self.error

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await Plain(200, scope["path"].encode(), "text/plain")(scope, receive, send)

        return app


@pytest.fixture
def loader() -> Loader:
    return Loader()


async def test_probes_load_nothing(house: SmallHouse, loader: Loader) -> None:
    async with client(Front(house, loader)) as http:
        for path in PROBES:
            assert (await http.get(path)).status_code == 200
        house.waiting = ["history is starting"]
        assert (await http.get("/readyz")).status_code == 503
    assert loader.times == 0


@pytest.mark.parametrize("waiting", [[], ["history is starting"]])
async def test_probes_say_what_the_api_would(house: SmallHouse, waiting: list[str]) -> None:
    house.waiting = waiting
    api = application(house)
    async with client(Front(house, lambda: api)) as early, client(api) as late:
        for path in PROBES[:2]:
            ours, theirs = await early.get(path), await late.get(path)
            assert ours.status_code == theirs.status_code
            assert ours.content == theirs.content
            assert ours.headers == theirs.headers
        ours, theirs = await early.get("/metrics"), await late.get("/metrics")
        assert ours.headers["content-type"] == theirs.headers["content-type"]
        assert "berrygate_journal_bytes" in ours.text


async def test_what_is_asked_in_another_way_is_for_the_api(house: SmallHouse) -> None:
    api = application(house)
    async with client(Front(house, lambda: api)) as http:
        refused = await http.post("/readyz")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET"
        assert (await http.get("/healthz?no=such")).status_code == 422
        assert (await http.get("/healthz/")).status_code == 404


async def test_the_api_is_loaded_once(house: SmallHouse, loader: Loader) -> None:
    async with client(Front(house, loader)) as http:
        answers = await asyncio.gather(*(http.get(f"/{n}") for n in range(20)))
        assert [answer.text for answer in answers] == [f"/{n}" for n in range(20)]
        await http.get("/again")
    assert loader.times == 1


async def test_an_api_that_cannot_be_loaded_is_tried_again(
    house: SmallHouse, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.error = ImportError("hunter2")
    async with client(Front(house, loader)) as http:
        answer = await http.get("/api/v1/status")
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert "hunter2" not in answer.text
        assert "hunter2" in caplog.text
        assert (await http.get("/healthz")).status_code == 200
        loader.error = None
        assert (await http.get("/api/v1/status")).status_code == 200


async def test_a_probe_that_fails_is_a_problem(
    house: SmallHouse, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> tuple[bool, list[str]]:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(house, "ready", fails)
    async with client(Front(house, loader)) as http:
        answer = await http.get("/readyz")
        assert answer.status_code == 500
        assert "hunter2" not in answer.text
