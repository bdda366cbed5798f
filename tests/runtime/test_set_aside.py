"""What lanes set aside where a bridge asks for fresh_first: when, and when its turn comes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.core.contracts import Batch
from gateway.core.errors import Unavailable
from gateway.runtime.beside import Beside
from gateway.stages.fresh_first import FreshFirst, SetAside
from tests.support.delivering import QUICK, Work, delivering, now_numbered
from tests.support.journal import publish
from tests.support.sink import Sink

ASKED = {**QUICK["retry"], "fresh_first": "5s"}


async def test_a_batch_of_which_a_part_was_taken_does_not_make_way() -> None:
    sent: list[Batch] = []

    class Reader:
        batch: Batch | None = Batch(0, 4, now_numbered(0, 4))
        leaves = True

        async def set_aside(self) -> bool:
            return self.leaves

    async def send(batch: Batch) -> None:
        sent.append(batch)

    reader = Reader()
    assert reader.batch is not None
    stage = FreshFirst(reader, lambda: True)
    with pytest.raises(SetAside):
        await stage(reader.batch, send)
    await stage(reader.batch.part(0, 2), send)
    reader.leaves = False
    await stage(reader.batch, send)
    await FreshFirst(reader, lambda: False)(reader.batch, send)
    assert [len(each) for each in sent] == [2, 4, 4]


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether what lanes have in hand is too old: the last of these says it."""
    told = [False]
    monkeypatch.setattr(Beside, "old", lambda self, lane: told[-1])
    return told


@asynccontextmanager
async def failing(directory: Path, count: int, lanes: int) -> AsyncIterator[tuple[Work, Sink]]:
    """A bridge that has so many readings, and cannot get rid of them."""
    sink = Sink()
    sink.fails = Unavailable("away")
    async with delivering(directory, sink, pool={"max": lanes}, retry=ASKED) as work:
        await publish(work.bus, now_numbered(0, count))
        await work.until(lambda: work.delivery.state == "failing")
        yield work, sink


async def test_a_backlog_goes_out_although_nothing_new_comes(
    tmp_path: Path, old: list[bool]
) -> None:
    async with failing(tmp_path, 1_000, lanes=2) as (work, sink):
        await publish(work.bus, now_numbered(1_000, 1_010))
        old.append(True)
        await work.until(lambda: work.delivery.as_dict()["set_aside"])
        assert work.ledger["pending"] == 1_010
        sink.fails = None
        await work.settled()
        assert sorted(sink.numbers()) == list(range(1_010))
        assert work.ledger["delivered"] == 1_010
        assert not work.delivery.as_dict()["set_aside"]
        assert work.delivery.state == "running"


async def test_what_is_set_aside_waits_while_new_ones_try(tmp_path: Path, old: list[bool]) -> None:
    """What goes through first after an outage is new, although the backlog was on its way, too."""
    old.append(True)
    async with failing(tmp_path, 100, lanes=1) as (work, sink):
        await publish(work.bus, now_numbered(100, 200))
        backlog = work.delivery._subscribed().backlog
        await work.until(lambda: backlog.in_flight > 0)  # nothing new: it tries
        old.append(False)
        await publish(work.bus, now_numbered(200, 210))
        await work.until(lambda: not backlog.in_flight)  # and makes way
        sink.fails = None
        await work.settled()
        numbers = sink.numbers()
        assert sorted(numbers[:10]) == list(range(200, 210))
        assert sorted(numbers) == list(range(210))
        assert work.ledger["delivered"] == 210


async def test_a_replay_leaves_the_backlog_to_itself(tmp_path: Path, old: list[bool]) -> None:
    sink = Sink()
    async with delivering(tmp_path, sink, pool={"max": 2}, retry=ASKED) as work:
        await publish(work.bus, now_numbered(0, 50))
        await work.settled()
        sink.fails = Unavailable("away")
        await publish(work.bus, now_numbered(50, 100))
        await work.until(lambda: work.delivery.state == "failing")
        old.append(True)
        await publish(work.bus, now_numbered(100, 101))
        await work.until(lambda: work.delivery.as_dict()["set_aside"])
        old.append(False)
        await publish(work.bus, now_numbered(101, 150))
        lanes = work.delivery._subscribed().lanes
        await work.until(lambda: all(lane.in_flight for lane in lanes))
        now = time.time_ns()
        asked = asyncio.create_task(work.delivery.replay(now - 3600 * 10**9, now, "*"))
        await asyncio.sleep(0.1)
        sink.fails = None
        await asked
        await work.settled()
        await work.until(lambda: (work.delivery._replay() or {}).get("state") == "done")
        again = sink.numbers(4)
        assert sorted(sink.numbers()) == list(range(150))
        assert set(again) >= set(range(50))
        assert len(again) == len(set(again))
        assert work.ledger["delivered"] == 150


def test_age_is_told_by_the_clock_that_stored_it() -> None:
    settings = cast(Any, SimpleNamespace(
        retry=SimpleNamespace(fresh_first=5.0), batch=SimpleNamespace(wait=2.0)
    ))  # fmt: skip
    times = SimpleNamespace(of=lambda stamp: stamp)
    journal = SimpleNamespace(now=lambda: 100 * 10**9, times=times)
    bus = cast(Any, SimpleNamespace(journal=journal))
    beside = Beside(settings, bus, cast(Any, None))
    assert beside.old(cast(Any, SimpleNamespace(stored=92.9 * 10**9)))
    assert not beside.old(cast(Any, SimpleNamespace(stored=93.1 * 10**9)))
