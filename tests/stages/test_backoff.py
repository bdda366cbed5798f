"""Lanes, and bridges to one server, do not stampede: not while it is away, not when it is back."""

import asyncio
import time
from typing import Any

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import Denied, Throttled, Unavailable
from gateway.core.settings import BridgeSettings, RetrySettings
from gateway.stages.backoff import Place, Places
from gateway.stages.retry import Retry


def batch() -> Batch:
    return Batch(0, 1, [Reading("d", 1, {"n": 1.0})])


class Server:
    """Away until it is told otherwise; when it was asked."""

    def __init__(self) -> None:
        self.away = True
        self.asked: list[float] = []
        self.error: Exception = Unavailable("away")

    async def send(self, part: Batch) -> None:
        self.asked.append(time.monotonic())
        if self.away:
            raise self.error


def retry(place: Place, **settings: Any) -> Retry:
    async def bury(readings: list[Reading], text: str, reason: str) -> None:
        raise AssertionError(text)

    return Retry("sink", RetrySettings.model_validate(settings), bury, place)


async def asked_in(seconds: float, lanes: int, apart: bool) -> Server:
    """A server that was away for so long, asked by so many; apart: nobody knows of the others."""
    server, shared = Server(), Place()
    quick = {"base": "20ms", "max": "200ms"}
    work = [
        asyncio.create_task(retry(Place() if apart else shared, **quick)(batch(), server.send))
        for _ in range(lanes)
    ]
    await asyncio.sleep(seconds)
    server.away = False
    async with asyncio.timeout(10):
        await asyncio.gather(*work)
    return server


async def test_many_ask_a_server_that_is_away_about_as_often_as_one() -> None:
    one = len((await asked_in(2.0, 1, apart=False)).asked)
    apart = len((await asked_in(2.0, 30, apart=True)).asked) / 30
    together = (len((await asked_in(2.0, 30, apart=False)).asked) - 30) / 30
    print(f"tries a lane in 2 s: one {one}, 30 apart {apart:.1f}, 30 together {together:.1f}")
    assert together < apart / 3


async def test_those_who_waited_return_one_after_another() -> None:
    server, place = Server(), Place()
    lanes = retry(place, base="500ms", max="60s", strategy="fixed")
    server.error = Denied("not yet")  # the longest pause: none is over by itself
    work = [asyncio.create_task(lanes(batch(), server.send)) for _ in range(40)]
    await asyncio.sleep(0.1)
    server.away = False
    server.asked.clear()
    await lanes(batch(), server.send)
    async with asyncio.timeout(10):
        await asyncio.gather(*work)
    assert len(server.asked) == 41
    assert server.asked[-1] - server.asked[1] > 0.25


async def test_what_fails_for_itself_holds_up_nobody() -> None:
    """One lane's writes fail, its neighbours' do not: they go on at once, each time."""
    place, stop = Place(), time.monotonic() + 1.0
    poisoned, well = retry(place, base="10ms", max="1s"), retry(place, base="10ms", max="1s")
    server = Server()
    work = asyncio.create_task(poisoned(batch(), server.send))
    sent = 0

    async def take(part: Batch) -> None:
        await asyncio.sleep(0.001)

    while time.monotonic() < stop:
        await well(batch(), take)
        sent += 1
    work.cancel()
    assert sent > 100
    # Each of the neighbour's successes says that the server is there; that is not always believed.
    assert len(server.asked) < 40


async def test_a_pause_that_was_asked_for_holds_for_every_lane() -> None:
    server = Server()
    server.error = Throttled("slow down", after=0.5)
    lanes = retry(Place(), base="10ms", max="20ms")
    first = asyncio.create_task(lanes(batch(), server.send))
    await asyncio.sleep(0.05)
    server.away = False
    began = server.asked[0]
    await asyncio.gather(first, *(lanes(batch(), server.send) for _ in range(5)))
    assert min(server.asked[1:]) - began >= 0.5


async def test_bridges_to_one_server_share_what_they_know() -> None:
    class Somewhere(BridgeSettings):
        url: str = ""

    places = Places()
    one = places.of(Somewhere(type="a", url="http://Influx.local:8086/a"))
    assert places.of(Somewhere(type="b", url="http://me:secret@influx.local:8086")) is one
    assert places.of(Somewhere(type="b", url="http://influx.local:8087")) is not one
    assert places.of(BridgeSettings(type="c")) is not places.of(BridgeSettings(type="c"))
