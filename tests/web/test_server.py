"""The server itself: starting, stopping, probes, pages, errors and what guards them."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from gateway.core.errors import ConfigError
from gateway.web import problems, server
from gateway.web.guard import Guard
from tests.support.small_house import SmallHouse


def is_problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body["title"]
    return body


async def test_alive(http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "alive"}


async def test_ready_says_why_not(http: httpx.AsyncClient, house: SmallHouse) -> None:
    assert (await http.get("/readyz")).json() == {"ready": True}
    house.waiting = ["history is starting", "the journal's disk refuses: full"]
    body = is_problem(await http.get("/readyz"), 503)
    assert body["reasons"] == house.waiting
    assert (await http.get("/healthz")).status_code == 200


async def test_every_error_is_a_problem(http: httpx.AsyncClient, house: SmallHouse) -> None:
    assert is_problem(await http.get("/nowhere"), 404)["detail"] == "nothing is at /nowhere"
    is_problem(await http.get("/static/nothing.js"), 404)
    is_problem(await http.get("/static/../server.py"), 404)
    wrong = await http.delete("/api/v1/status")
    is_problem(wrong, 405)
    assert "GET" in wrong.headers["allow"]
    body = is_problem(await http.get("/api/v1/query?device=soil-4"), 422)
    assert body["errors"] == [{"where": "query.metric", "message": "Field required"}]


async def test_a_bug_is_a_problem_that_tells_nothing(
    http: httpx.AsyncClient, house: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> dict[str, object]:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(house, "health", fails)
    answer = await http.get("/api/v1/health")
    is_problem(answer, 500)
    assert "hunter2" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_head_is_get_without_body(http: httpx.AsyncClient) -> None:
    answer = await http.head("/healthz")
    assert answer.status_code == 200
    assert answer.content == b""


async def test_pages_load_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        page = await http.get(path)
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert linked
        for link in linked:
            assert link.startswith("/"), "third-party request"
            assert (await http.get(link)).status_code == 200
        # With this policy a browser runs no inline script and applies no inline style.
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text)


async def test_scripts_ask_only_paths_that_exist(http: httpx.AsyncClient) -> None:
    for script in ("app.js", "docs.js"):
        text = (await http.get(f"/static/{script}")).text
        assert "://" not in text
        for path in re.findall(r'(?:ask|fetch)\("([^"]+)"', text):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("192.168.1.20", 200),
        ("[::1]:8080", 200),
        ("localhost:1", 200),
        (socket.gethostname().upper(), 200),
        (socket.gethostname().partition(".")[0] + ".local", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8080", 421),
        ("localhost.evil.example", 421),
    ],
)
async def test_only_our_own_names_are_served(
    http: httpx.AsyncClient, host: str, status: int
) -> None:
    answer = await http.get("/api/v1/status", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert "api.allowed_hosts" in str(is_problem(answer, 421)["fix"])


async def test_allowed_hosts(house: SmallHouse) -> None:
    allowed = ["pi.example", ".farm.example"]
    async with (
        server.serving(house, "127.0.0.1", 0, allowed_hosts=allowed) as (port, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        for host, status in (
            ("pi.example", 200),
            ("a.pi.example", 421),
            ("north.farm.example:80", 200),
            ("notfarm.example", 421),
        ):
            assert (await http.get("/healthz", headers={"host": host})).status_code == status


async def test_large_bodies_are_refused() -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def echo(request: Request) -> int:
        return len(await request.body())

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    transport = httpx.ASGITransport(Guard(app, [], 1000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.post("/", content=b"x" * 1000)).json() == 1000
        is_problem(await client.post("/", content=b"x" * 1001), 413)
        is_problem(await client.post("/", content=chunks()), 413)


async def test_a_taken_port_is_a_configuration_error(house: SmallHouse, port: int) -> None:
    with pytest.raises(ConfigError, match=f"api.port {port}") as caught:
        async with server.serving(house, "127.0.0.1", port):
            pass
    assert caught.value.fix == "set api.port to a free port, or stop what uses this one"


async def test_an_address_of_another_machine(house: SmallHouse) -> None:
    with pytest.raises(ConfigError) as caught:
        await server.serve(house, "192.0.2.1", 0)
    assert "api.host" in str(caught.value.fix)


async def test_signals_stay_with_the_gateway(house: SmallHouse) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with server.serving(house, "127.0.0.1", 0):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_stops_when_cancelled_though_clients_stay(house: SmallHouse) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    task = asyncio.create_task(server.serve(house, "127.0.0.1", port))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        for _ in range(200):
            try:
                assert (await http.get("/healthz")).status_code == 200
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(10):
                await task
        with pytest.raises(httpx.TransportError):
            await http.get("/healthz")
