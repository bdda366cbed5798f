"""Commands, the registry and state over HTTP, of a small house."""

import asyncio
from typing import Any

import httpx
import pytest

from gateway.core.contracts import Command, Reply
from tests.support.small_house import SmallHouse
from tests.support.small_managing import Obedient, manage


@pytest.fixture
def driver(house: SmallHouse) -> Obedient:
    return manage(house)


async def tell(http: httpx.AsyncClient, name: str = "set", **asked: Any) -> httpx.Response:
    return await http.post(f"/api/v1/devices/soil-4/commands/{name}", json=asked)


async def test_arguments_must_fit_the_schema(http: httpx.AsyncClient, driver: Obedient) -> None:
    for args, why in (
        ({}, "set: missing: value"),
        ({"value": 11}, "set: value: expected at most 10"),
        ({"value": True}, "set: value: expected number"),
        ({"value": 1, "x": 1}, 'set: no argument "x"; known: value'),
    ):
        answer = await tell(http, args=args)
        assert (answer.status_code, answer.json()["detail"]) == (422, why)
    unknown = await tell(http, "fly")
    assert unknown.json()["detail"] == 'soil-4 has no command "fly"; known: set'
    assert driver.done == []
    fits = await tell(http, args={"value": 3.5})
    assert (fits.status_code, fits.json()["result"]) == (200, {"value": 3.5})
    known = (await http.get("/api/v1/devices/soil-4/commands")).json()
    assert known["schemas"]["set"]["required"] == ["value"]
    assert [each["status"] for each in known["commands"]] == ["ok"]


async def test_the_same_id_at_the_same_time_is_done_once(
    http: httpx.AsyncClient, driver: Obedient
) -> None:
    answers = await asyncio.gather(*(tell(http, id="x", args={"value": 1}) for _ in range(8)))
    assert [answer.json()["status"] for answer in answers] == ["ok"] * 8
    assert sorted(answer.json()["repeated"] for answer in answers) == [False] + [True] * 7
    assert len(driver.done) == 1


@pytest.mark.parametrize("wait", ["0", "0s"])
async def test_whoever_does_not_want_to_wait_is_answered_at_once(
    http: httpx.AsyncClient, driver: Obedient, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    go, execute = asyncio.Event(), driver.execute

    async def slow(command: Command) -> Reply:
        await go.wait()
        return await execute(command)

    monkeypatch.setattr(driver, "execute", slow)
    where = "/api/v1/devices/soil-4/commands/set"
    answer = await http.post(where, params={"wait": wait}, json={"args": {"value": 1}})
    assert (answer.status_code, driver.done) == (202, [])
    assert answer.json()["status"] in ("accepted", "executing")
    go.set()
    again = await http.post(where, json={"id": answer.json()["id"], "args": {"value": 1}})
    assert (again.status_code, again.json()["status"], len(driver.done)) == (200, "ok", 1)
    unclear = await http.post(where, params={"wait": "5"}, json={"args": {"value": 1}})
    assert unclear.status_code == 422
    assert "expected 10s, 1m, 1h" in unclear.text


async def test_while_it_is_starting(http: httpx.AsyncClient) -> None:
    answer = await tell(http, args={"value": 1})
    assert (answer.status_code, answer.json()["fix"]) == (503, "try again in a moment")
    assert len((await http.get("/api/v1/devices")).json()) == 2
