"""Alerts and silences over HTTP."""

import httpx
import pytest

from tests.support.small_house import SmallHouse

API = "/api/v1"


async def test_alerts(http: httpx.AsyncClient) -> None:
    (alert,) = (await http.get(f"{API}/alerts")).json()
    assert (alert["id"], alert["state"], alert["told"]) == (7, "firing", ["phone"])
    assert (await http.get(f"{API}/alerts?state=resolved")).json() == []
    assert (await http.get(f"{API}/alerts?state=gone")).status_code == 422


async def test_acknowledge(http: httpx.AsyncClient, house: SmallHouse) -> None:
    done = await http.post(f"{API}/alerts/7/ack", json={"by": "ann"})
    assert (done.status_code, done.json()["acknowledged_by"]) == (200, "ann")
    assert (await http.post(f"{API}/alerts/7/ack")).status_code == 200
    assert (await http.post(f"{API}/alerts/9/ack")).status_code == 404
    over = await http.post(f"{API}/alerts/8/ack")
    assert (over.status_code, "needs nobody" in over.json()["detail"]) == (409, True)


async def test_silences(http: httpx.AsyncClient) -> None:
    made = await http.post(f"{API}/silences", json={"source": "soil-*", "duration": "1h"})
    assert made.status_code == 201
    silence = made.json()
    assert (silence["rule"], silence["source"]) == ("*", "soil-*")
    assert silence["end"] - silence["start"] == 3_600_000
    assert (await http.get(f"{API}/silences")).json() == [silence]
    assert (await http.delete(f"{API}/silences/{silence['id']}")).json() == silence
    assert (await http.delete(f"{API}/silences/{silence['id']}")).status_code == 404


async def test_a_silence_until_then(http: httpx.AsyncClient) -> None:
    asked = {"start": 1_795_212_000_000, "end": 1_795_212_060_000, "duration": "5h"}
    made = (await http.post(f"{API}/silences", json=asked)).json()
    assert made["end"] - made["start"] == 60_000
    over = await http.post(f"{API}/silences", json=asked | {"end": asked["start"]})
    assert (over.status_code, over.json()["fix"]) == (409, "a later end")


@pytest.mark.parametrize("asked", [{}, {"duration": 5}, {"sorce": "a"}, {"rule": ""}])
async def test_a_silence_that_cannot_be(http: httpx.AsyncClient, asked: object) -> None:
    assert (await http.post(f"{API}/silences", json=asked)).status_code == 422


async def test_every_method_of_a_path_is_allowed(http: httpx.AsyncClient) -> None:
    answer = await http.options(f"{API}/silences")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}


async def test_alerts_that_are_off(http: httpx.AsyncClient, house: SmallHouse) -> None:
    house.alerting = None
    answer = await http.get(f"{API}/alerts")
    assert (answer.status_code, answer.json()["detail"]) == (409, "alerts are off")
