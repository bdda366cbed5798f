"""/api/v1, and the whole server against its own description."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings

from gateway.web import server
from tests.support.small_house import STARTED, SmallHouse, standing
from tests.support.small_managing import manage


async def get(http: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await http.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_state(http: httpx.AsyncClient, house: SmallHouse) -> None:
    assert await get(http, "status") == house.status()
    assert await get(http, "health") == house.health()
    assert await get(http, "performance") == house.performance()
    assert await get(http, "bridges") == house.bridges()


async def test_health_history(http: httpx.AsyncClient) -> None:
    found = await get(http, "health/history", part="bridge/home", start="-1h")
    assert found == {
        "part": "bridge/home",
        "points": [[STARTED, 84, "GOOD", "oldest reading waits 90 s"]],
    }
    assert (await get(http, "health/history"))["part"] == "gateway/gateway"
    assert len((await get(http, "health/history", points=7))["points"]) == 7
    later = await get(http, "health/history", start="2026-11-20", end="2026-11-19")
    assert later["points"] == []
    assert (await http.get("/api/v1/health/history?part=bridge/x")).status_code == 404
    assert (await http.get("/api/v1/health/history?part=bridge")).status_code == 422


async def test_devices(http: httpx.AsyncClient, house: SmallHouse) -> None:
    assert await get(http, "devices") == house.devices()
    assert await get(http, "devices/soil-4") == house.device("soil-4")
    missing = await http.get("/api/v1/devices/soil-5")
    assert missing.status_code == 404
    assert missing.json()["detail"] == 'no device "soil-5"'


async def test_series(http: httpx.AsyncClient) -> None:
    assert len(await get(http, "series")) == 3
    assert await get(http, "series", device="pump-2") == [{"device": "pump-2", "metric": "state"}]
    assert (await http.get("/api/v1/series?device=soil-5")).status_code == 404


async def test_query(http: httpx.AsyncClient, house: SmallHouse) -> None:
    found = await get(
        http, "query", device="soil-4", metric="moisture", points=7, aggregate="max",
        start="2026-11-20T22:00:00Z", end=1_795_298_400_000,
    )  # fmt: skip
    assert found == {
        "device": "soil-4",
        "metric": "moisture",
        "points": [[STARTED, 21.5], [STARTED + 1000, None]],
    }
    start, end = 1_795_212_000 * 10**9, 1_795_298_400 * 10**9
    assert house.asked == [("soil-4", "moisture", start, end, 7, "max")]


async def test_query_defaults_to_the_last_day(http: httpx.AsyncClient, house: SmallHouse) -> None:
    await get(http, "query", device="soil-4", metric="moisture")
    _, _, start, end, points, aggregate = house.asked[0]
    assert abs(end - time.time_ns()) < 60e9
    assert end - start == pytest.approx(86400e9, abs=1e9)
    assert (points, aggregate) == (100_000, None)


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"start": "yesterday"}, "query.start"),
        ({"points": "0"}, "query.points"),
        ({"points": "100001"}, "query.points"),
        ({"aggregate": "median"}, "query.aggregate"),
        ({"pionts": "5"}, "query.pionts"),
    ],
)
async def test_wrong_queries_are_told_where(
    http: httpx.AsyncClient, params: dict[str, str], where: str
) -> None:
    asked = {"device": "soil-4", "metric": "moisture", **params}
    answer = await http.get("/api/v1/query", params=asked)
    assert answer.status_code == 422
    assert [error["where"] for error in answer.json()["errors"]] == [where]


async def test_a_stretch_that_ends_before_it_starts_is_empty(
    http: httpx.AsyncClient, house: SmallHouse
) -> None:
    found = await get(http, "query", device="soil-4", metric="moisture", start="-1h", end="-2h")
    assert found["points"] == []
    assert not house.asked


async def test_unknown_metric(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/query?device=soil-4&metric=colour")
    assert answer.status_code == 404
    assert "colour" in answer.json()["detail"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("house")
    house = SmallHouse()
    manage(house)
    with standing(house, directory) as url:
        yield url


APP = server.build(SmallHouse(), allowed_hosts=["testserver"])
description = schemathesis.openapi.from_asgi("/openapi.json", APP)


@schemathesis.openapi.from_dict(description.raw_schema).parametrize()
@settings(max_examples=40, deadline=None)
def test_server_does_what_it_describes(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url)


async def post(http: httpx.AsyncClient, path: str, body: Any = None) -> httpx.Response:
    return await http.post(f"/api/v1/bridges/{path}", json=body)


async def test_pause_and_resume(http: httpx.AsyncClient, house: SmallHouse) -> None:
    assert (await post(http, "home/pause")).json()["state"] == "paused"
    assert (await get(http, "bridges"))[0]["state"] == "paused"
    assert (await post(http, "home/resume")).json()["state"] == "running"
    assert not house.paused


async def test_replay(http: httpx.AsyncClient, house: SmallHouse) -> None:
    asked = {"start": "2026-11-20T22:00:00Z", "end": 1_795_298_400_000, "devices": "soil-*"}
    begun = await post(http, "home/replay", asked)
    assert begun.status_code == 202
    assert begun.json()["start"] == 1_795_212_000_000
    assert begun.json()["devices"] == "soil-*"
    again = await post(http, "home/replay", asked)
    assert (again.status_code, again.json()["fix"]) == (409, "wait for it")
    assert (await post(http, "home/replay/stop")).json()["state"] == "stopped"
    backwards = await post(http, "home/replay", {"start": "-1h", "end": "-2h"})
    assert (backwards.status_code, backwards.json()["detail"]) == (422, "start is not before end")
    assert (await post(http, "home/replay", {})).status_code == 422


async def test_dead_letters(http: httpx.AsyncClient, house: SmallHouse) -> None:
    found = await get(http, "bridges/home/dead-letters", limit=5)
    assert found == await house.letters("home", 5, 1)
    assert (await post(http, "home/dead-letters/retry", {"ids": [7, 8]})).json() == {
        "taken": 2,
        "kept": [{"id": 8, "reason": "still bad"}],
        "next": None,
    }
    assert (await post(http, "home/dead-letters/retry", {})).json()["next"] == 500
    assert house.tried == [((7, 8), 0), ((), 0)]


async def test_errors(http: httpx.AsyncClient, house: SmallHouse) -> None:
    assert await get(http, "bridges/home/errors") == house.errors("home")
    assert (await http.get("/api/v1/bridges/cellar/errors")).status_code == 404


@pytest.mark.parametrize("path", ["pause", "resume", "replay", "replay/stop", "dead-letters/retry"])
async def test_unknown_bridges_are_404(http: httpx.AsyncClient, path: str) -> None:
    answer = await post(http, f"cellar/{path}", {"start": "-1h"} if path == "replay" else {})
    assert answer.status_code == 404
    assert "cellar" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://stranger.example"},
        {"Origin": "null"},
    ],
)
async def test_a_strangers_page_changes_nothing(
    http: httpx.AsyncClient, house: SmallHouse, headers: dict[str, str]
) -> None:
    answer = await http.post("/api/v1/bridges/home/pause", headers=headers)
    assert answer.status_code == 403
    assert not house.paused
    assert (await http.get("/api/v1/bridges", headers=headers)).status_code == 200


async def test_our_own_page_may_change_things(http: httpx.AsyncClient, house: SmallHouse) -> None:
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": str(http.base_url).rstrip("/")}
    assert (await http.post("/api/v1/bridges/home/pause", headers=ours)).status_code == 200
    assert house.paused


async def test_only_this_machine_may_change_things(house: SmallHouse) -> None:
    app = server.build(house, allowed_hosts=["testserver"])
    for address, code in (("192.0.2.7", 403), ("127.0.0.1", 200), ("::1", 200)):
        transport = httpx.ASGITransport(app=app, client=(address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            assert (await client.post("/api/v1/bridges/home/pause")).status_code == code
            assert (await client.get("/api/v1/bridges")).status_code == 200
