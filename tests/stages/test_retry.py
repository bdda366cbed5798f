"""What the error tree promises happens next."""

import asyncio
import time

import pytest

from gateway.core.contracts import Batch, Reading, Send
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable, Unknown
from gateway.core.settings import RetrySettings
from gateway.stages import compose
from gateway.stages.breaker import Breaker, BreakerOpen, BreakerState
from gateway.stages.classify import classified
from gateway.stages.health import HealthStage
from gateway.stages.retry import MOST_BLAMED, Retry

QUICK = RetrySettings.model_validate({"base": "1ms", "max": "5ms"})


def batch(size: int) -> Batch:
    return Batch(1, size + 1, [Reading(f"d{n}", n, {"n": float(n)}) for n in range(size)])


class Sink:
    """A sink that fails as it is told, and remembers what it took."""

    def __init__(self, *failures: Exception, poison: frozenset[int] = frozenset()) -> None:
        self.failures = list(failures)
        self.poison = poison
        self.taken: list[int] = []
        self.requests = 0
        self.dead: list[tuple[int, str]] = []
        self.words: set[str] = set()

    async def send(self, part: Batch) -> None:
        self.requests += 1
        if self.failures:
            raise self.failures.pop(0)
        numbers = [int(reading.values["n"]) for reading in part.readings]
        if self.poison.intersection(numbers):
            raise Rejected("bad value")
        self.taken += numbers

    async def bury(self, readings: list[Reading], text: str, reason: str) -> None:
        self.dead += [(int(reading.values["n"]), text) for reading in readings]
        self.words |= {reason}

    def chain(self, settings: RetrySettings = QUICK) -> Send:
        retry = Retry("sink", settings, self.bury)
        return compose([retry, HealthStage("sink", lambda event: None)], self.send)


async def test_unavailable_is_tried_again_until_it_works() -> None:
    sink, work = Sink(Unavailable("down"), Unavailable("down"), Denied("no")), batch(3)
    await sink.chain()(work)
    assert sink.taken == [0, 1, 2]
    assert (work.tally.delivered, work.tally.dead_lettered) == (3, 0)


async def test_throttled_waits_as_long_as_asked() -> None:
    sink = Sink(Throttled("slow down", after=0.2))
    began = time.monotonic()
    await sink.chain()(batch(1))
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("place", [0, 1, 249, 499])
async def test_one_bad_record_in_500_costs_nobody_else(place: int) -> None:
    sink, work = Sink(poison=frozenset({place})), batch(500)
    await sink.chain()(work)
    assert sorted(sink.taken) == [n for n in range(500) if n != place]
    assert sink.dead == [(place, "bad value")]
    assert (work.tally.delivered, work.tally.dead_lettered) == (499, 1)
    assert sink.requests <= 20


async def test_named_records_are_dead_letters_at_once() -> None:
    sink, work = Sink(Rejected("conflict", indices=[1, 3])), batch(5)
    await sink.chain()(work)
    assert sink.dead == [(1, "conflict"), (3, "conflict")]
    assert (work.tally.delivered, work.tally.dead_lettered) == (3, 2)
    assert sink.requests == 1


async def test_limited_attempts_end_in_dead_letters() -> None:
    settings = RetrySettings.model_validate({"base": "1ms", "max": "2ms", "attempts": 3})
    sink, work = Sink(*[Unavailable("down")] * 5), batch(2)
    await sink.chain(settings)(work)
    assert sink.requests == 3
    assert [n for n, _ in sink.dead] == [0, 1]
    assert work.tally.dead_lettered == 2


async def test_an_open_breaker_is_no_attempt() -> None:
    settings = RetrySettings.model_validate({"base": "1ms", "max": "2ms", "attempts": 2})
    sink = Sink(*[BreakerOpen("open", after=0.0)] * 5)
    await sink.chain(settings)(batch(1))
    assert sink.taken == [0]
    assert sink.dead == []


async def test_a_lane_that_gets_through_wakes_the_others() -> None:
    # A pause with jitter may be short; one after a refusal is not.
    sink = Sink(Denied("down"), Denied("down"))
    settings = RetrySettings.model_validate({"base": "1ms", "max": "60s"})
    retry = Retry("sink", settings, sink.bury)
    waiting = [asyncio.create_task(retry(batch(1), sink.send)) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert retry.failing == "down"
    await retry(batch(1), sink.send)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert retry.failing == ""


def test_breaker_opens_tries_once_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(2, 10.0, lambda: now[0])
    breaker.failed()
    breaker.enter()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(BreakerOpen) as refused:
        breaker.enter()
    assert refused.value.after == 10.0
    now[0] = 10.0
    breaker.enter()  # the one that tries
    with pytest.raises(BreakerOpen):
        breaker.enter()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    now[0] = 20.0
    breaker.enter()
    breaker.abandoned()
    breaker.enter()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


async def test_an_outage_while_bisecting_counts_nothing_twice() -> None:
    """What a half had delivered before the sink went away is not sent and counted again."""
    sink, work = Sink(poison=frozenset({0, 7})), batch(8)
    asked = 0

    async def flaky(part: Batch) -> None:
        nonlocal asked
        asked += 1
        if asked % 3 == 0:
            raise Unavailable("gone for a moment")
        await sink.send(part)

    retry = Retry("sink", QUICK, sink.bury)
    await compose([retry, HealthStage("sink", lambda event: None)], flaky)(work)
    assert sorted(sink.taken) == [1, 2, 3, 4, 5, 6]
    assert sorted(number for number, _ in sink.dead) == [0, 7]
    assert (work.tally.delivered, work.tally.dead_lettered) == (6, 2)


async def test_attempts_that_are_limited_leave_what_was_taken() -> None:
    settings = RetrySettings.model_validate({"base": "1ms", "max": "2ms", "attempts": 2})
    sink, work = Sink(poison=frozenset({3})), batch(4)

    async def ends(part: Batch) -> None:
        if sink.taken:
            raise Unavailable("gone for good")
        await sink.send(part)

    retry = Retry("sink", settings, sink.bury)
    await compose([retry, HealthStage("sink", lambda event: None)], ends)(work)
    assert sink.taken == [0, 1]
    assert [number for number, _ in sink.dead] == [2, 3]
    assert (work.tally.delivered, work.tally.dead_lettered) == (2, 2)


async def test_an_unknown_error_is_tried_again_and_then_found_by_halving() -> None:
    """Tries are bounded, the bad record alone is given up, and each attempt is counted by kind."""
    sink, work = Sink(), batch(500)
    requests = 0

    async def crashes(part: Batch) -> None:
        nonlocal requests
        requests += 1
        if any(reading.values["n"] == 77 for reading in part.readings):
            raise classified("sink", ZeroDivisionError("a bug"))
        await sink.send(part)

    retry = Retry("sink", QUICK, sink.bury)
    await compose([retry, HealthStage("sink", lambda event: None)], crashes)(work)
    assert sorted(sink.taken) == [n for n in range(500) if n != 77]
    assert sink.dead == [(77, "driver failed: ZeroDivisionError: a bug")]
    assert sink.words == {"unknown"}
    assert requests <= 3 + 2 * 9
    assert 3 <= retry.troubles.as_dict()["day"]["unknown"] <= 3 + 9
    assert (work.tally.delivered, work.tally.dead_lettered) == (499, 1)


async def test_an_unknown_error_that_passes_costs_nothing() -> None:
    sink, work = Sink(Unknown("once"), Unknown("twice")), batch(3)
    await sink.chain()(work)
    assert sink.taken == [0, 1, 2]
    assert sink.dead == []


async def test_a_driver_that_fails_on_everything_stops_its_bridge() -> None:
    """Not a reading more than it takes to tell becomes a dead letter."""
    sink, work, stopped = Sink(), batch(500), asyncio.Event()
    broken = True

    async def crashes(part: Batch) -> None:
        if stopped.is_set():
            await going.wait()
        if broken:
            raise Unknown("a bug")
        await sink.send(part)

    going = asyncio.Event()
    retry = Retry("sink", QUICK, sink.bury, stop=stopped.set)
    task = asyncio.create_task(
        compose([retry, HealthStage("s", lambda event: None)], crashes)(work)
    )
    await asyncio.wait_for(stopped.wait(), 10)
    await asyncio.sleep(0.05)
    assert len(sink.dead) == MOST_BLAMED
    assert retry.stopped
    assert "berrygate bridges resume sink" in retry.failing
    broken = False
    stopped.clear()
    going.set()
    retry.hurry()
    await asyncio.wait_for(task, 10)
    assert len(sink.taken) == 500 - MOST_BLAMED
    assert (retry.failing, retry.stopped) == ("", False)


async def test_after_refusals_the_bridge_stops_and_asks() -> None:
    settings = RetrySettings.model_validate({"base": "1ms", "max": "5ms", "denied": 3})
    sink, stopped, going = Sink(*[Denied("wrong token")] * 3), asyncio.Event(), asyncio.Event()
    going.set()

    def stop() -> None:
        stopped.set()
        going.clear()

    async def send(part: Batch) -> None:
        await going.wait()
        await sink.send(part)

    retry = Retry("home", settings, sink.bury, stop=stop)
    task = asyncio.create_task(retry(batch(2), send))
    await asyncio.wait_for(stopped.wait(), 5)
    await asyncio.sleep(0.05)
    assert (sink.requests, retry.stopped, retry.denied) == (3, True, True)
    assert retry.failing == (
        "refused 3 times: wrong token; stopped: correct this, then: berrygate bridges resume home"
    )
    retry.hurry()
    going.set()
    await asyncio.wait_for(task, 5)
    assert sink.taken == [0, 1]
    assert (retry.stopped, retry.denied, retry.failing) == (False, False, "")
    assert retry.troubles.as_dict()["unaided"] == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("gone"), Unavailable),
        (TimeoutError(), Unavailable),
        (EOFError("in the middle"), Unavailable),
        (asyncio.IncompleteReadError(b"", 5), Unavailable),
        (Throttled("slow down", after=3.0), Throttled),
        (Denied("no"), Denied),
        (Rejected("bad"), Rejected),
        (KeyError("x"), Unknown),
        (BerrygateError("whatever"), Unknown),
    ],
)
def test_what_drivers_raise_is_classified(error: Exception, kind: type[Exception]) -> None:
    found = classified("sink", error)
    assert type(found) is kind
    assert found is error or str(error) in str(found)
