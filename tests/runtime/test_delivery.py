"""Pausing, trying again, and sending again: counted apart, and known after a restart."""

import asyncio
import time
import zlib
from pathlib import Path

import pytest

from gateway.core.contracts import Batch, Flag
from gateway.core.errors import Conflict, Denied, Unavailable
from gateway.stages.breaker import Breaker, BreakerOpen
from tests.support.delivering import delivering, now_numbered
from tests.support.journal import publish
from tests.support.sink import Sink

HISTORICAL = int(Flag.HISTORICAL)


async def test_a_paused_bridge_sends_nothing_and_loses_nothing(tmp_path: Path) -> None:
    sink = Sink()
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 50))
        await work.settled()
        await work.delivery.pause()
        assert work.delivery.state == "paused"
        await publish(work.bus, now_numbered(50, 80))
        await asyncio.sleep(0.3)
        assert sorted(sink.numbers()) == list(range(50))
        assert work.ledger["pending"] == 30
    async with delivering(tmp_path, sink) as work:  # a restart does not resume it
        await publish(work.bus, now_numbered(80, 90))
        await asyncio.sleep(0.3)
        assert work.delivery.state == "paused"
        assert len(sink.taken) == 50
        assert work.ledger["pending"] == 40
        await work.delivery.resume()
        await work.settled()
        assert sorted(sink.numbers()) == list(range(90))
        assert work.delivery.state == "running"
        assert work.ledger["delivered"] == 90
    async with delivering(tmp_path, sink) as work:
        assert work.delivery.state == "running"


async def test_pausing_stops_a_bridge_that_retries(tmp_path: Path) -> None:
    sink = Sink()
    sink.fails = Unavailable("down")
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 10))
        await work.until(lambda: sink.requests > 3)
        await work.delivery.pause()
        await asyncio.sleep(0.2)
        asked = sink.requests
        await asyncio.sleep(0.3)
        assert sink.requests == asked
        sink.fails = None
        await work.delivery.resume()
        await work.settled()
        assert work.ledger["delivered"] == 10


async def test_resume_tries_a_denied_bridge_at_once(tmp_path: Path) -> None:
    sink = Sink()
    sink.fails = Denied("wrong token")
    retry = {"max": "60s", "breaker": {"failures": 100, "rate": 1}}
    async with delivering(tmp_path, sink, retry=retry) as work:
        await publish(work.bus, now_numbered(0, 10))
        await work.until(lambda: work.delivery.state == "denied")
        sink.fails = None
        await work.delivery.resume()
        async with asyncio.timeout(10):
            await work.settled()
        assert work.delivery.state == "running"


async def test_dead_letters_are_tried_again_and_those_refused_again_stay(tmp_path: Path) -> None:
    sink = Sink()
    sink.refuses = lambda reading: reading.values["n"] % 10 == 3
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 100))
        await work.settled()
        letters = await work.letters.list("sink", stage="deliver")
        assert len(letters) == work.ledger["dead_lettered"] == 10
        sink.refuses = lambda reading: reading.values["n"] == 53
        found = await work.delivery.retry_letters(letters)
        assert len(found.taken) == 9
        assert list(found.kept.values()) == ["refused"]
        left = await work.letters.list("sink")
        assert [letter.id for letter in left] == list(found.kept)
        assert left[0].count == 2
        assert left[0].reading is not None
        assert left[0].reading.values == {"n": 53.0}
        assert sorted(sink.numbers(HISTORICAL)) == [n for n in range(3, 100, 10) if n != 53]
        # What was counted when it was refused stays counted; this is counted apart.
        assert (work.ledger["dead_lettered"], work.ledger["replayed"]) == (10, 9)
        assert work.ledger["delivered"] == 90


async def test_dead_letters_stay_while_the_sink_is_away_or_the_bridge_paused(
    tmp_path: Path,
) -> None:
    sink = Sink()
    sink.refuses = lambda reading: True
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 5))
        await work.settled()
        letters = await work.letters.list("sink")
        sink.fails = Unavailable("down")
        found = await work.delivery.retry_letters(letters)
        assert len(found.kept) == 5
        assert "down" in next(iter(found.kept.values()))
        await publish(work.bus, now_numbered(5, 6))
        await work.until(lambda: work.delivery.state == "failing")
        with pytest.raises(Unavailable, match="its dead letters stay"):
            await work.delivery.retry_letters(letters)
        await work.delivery.pause()
        with pytest.raises(Conflict, match="paused"):
            await work.delivery.retry_letters(letters)
        assert len(await work.letters.list("sink")) == 5
        assert work.ledger["replayed"] == 0


async def test_a_replay_sends_a_stretch_again_marked_and_counted_apart(tmp_path: Path) -> None:
    sink = Sink()
    async with delivering(tmp_path, sink, batch={"size": 40, "wait": "10ms"}) as work:
        readings = now_numbered(0, 500)
        for start in range(0, 500, 50):  # many blocks
            await publish(work.bus, readings[start : start + 50])
        await work.settled()
        start, end = readings[100].time, readings[400].time
        begun = await work.delivery.replay(start, end, "d[12]")
        assert begun["state"] == "running"
        assert begun["journal_from"] <= time.time_ns() // 10**6
        with pytest.raises(Conflict, match="already"):
            await work.delivery.replay(start, end, "*")
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] != "running")
        wanted = [n for n in range(100, 400) if n % 5 in (1, 2)]
        assert sink.numbers(HISTORICAL) == wanted
        shown = work.delivery.as_dict()["replay"]
        assert (shown["state"], shown["sent"], shown["progress"]) == ("done", len(wanted), 1.0)
        assert work.ledger["replayed"] == len(wanted)
        assert work.ledger["delivered"] == work.ledger["matched"] == 500
        with pytest.raises(ValueError, match="not before"):
            await work.delivery.replay(end, start, "*")
        with pytest.raises(Conflict, match="not replaying"):
            await work.delivery.stop_replay()


async def test_a_replay_keeps_to_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.runtime.again._RATE", 500)
    sink = Sink()
    async with delivering(tmp_path, sink, batch={"size": 50, "wait": "10ms"}) as work:
        readings = now_numbered(0, 500)
        await publish(work.bus, readings)
        await work.settled()
        began = time.monotonic()
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] == "done")
        rate = 500 / (time.monotonic() - began)
        assert rate <= 500 * 1.05
        assert work.ledger["replayed"] == 500


async def test_a_replay_goes_on_after_a_restart(tmp_path: Path) -> None:
    sink = Sink()
    batch = {"size": 20, "wait": "10ms"}
    async with delivering(tmp_path, sink, batch=batch) as work:
        readings = now_numbered(0, 400)
        for start in range(0, 400, 20):
            await publish(work.bus, readings[start : start + 20])
        await work.settled()
        sink.slow = dict.fromkeys([f"d{n}" for n in range(5)], 0.05)
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        await work.until(lambda: work.delivery.as_dict()["replay"]["sent"] >= 100)
    before = len(sink.numbers(HISTORICAL))
    assert before < 400
    sink.slow = {}
    async with delivering(tmp_path, sink, batch=batch) as work:
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] == "done")
        sent = sink.numbers(HISTORICAL)
        assert set(sent) == set(range(400))
        # What the restart interrupted comes twice: no more than what one write held.
        assert len(sent) - 400 <= 40
        assert work.ledger["replayed"] == work.delivery.as_dict()["replay"]["sent"] >= 400


async def test_a_replay_can_be_stopped_also_while_the_sink_is_away(tmp_path: Path) -> None:
    sink = Sink()
    async with delivering(tmp_path, sink) as work:
        readings = now_numbered(0, 50)
        await publish(work.bus, readings)
        await work.settled()
        sink.fails = Unavailable("down")
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        asked = sink.requests
        await work.until(lambda: sink.requests > asked)
        assert (await work.delivery.stop_replay())["state"] == "stopped"
        sink.fails = None
        await asyncio.sleep(0.3)
        assert sink.numbers(HISTORICAL) == []
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")  # and again
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] == "done")
        assert len(sink.numbers(HISTORICAL)) == 50


async def test_what_a_replay_finds_refused_is_a_dead_letter_and_counted_apart(
    tmp_path: Path,
) -> None:
    sink = Sink()
    async with delivering(tmp_path, sink) as work:
        readings = now_numbered(0, 50)
        await publish(work.bus, readings)
        await work.settled()
        sink.refuses = lambda reading: reading.values["n"] == 7
        sink.named = False
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] == "done")
        shown = work.delivery.as_dict()["replay"]
        assert (shown["sent"], shown["refused"]) == (49, 1)
        assert len(await work.letters.list("sink")) == 1
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] == "done")
        (one,) = await work.letters.list("sink")
        assert one.count == 2
        assert (work.ledger["replayed"], work.ledger["dead_lettered"]) == (98, 0)


async def test_live_readings_go_before_a_replay(tmp_path: Path) -> None:
    """A replay that took the sink's time would hold up what is happening now."""
    sink = Sink()
    async with delivering(tmp_path, sink, batch={"size": 10, "wait": "10ms"}) as work:
        readings = now_numbered(0, 400)
        await publish(work.bus, readings)
        await work.settled()
        sink.taken.clear()
        sink.slow = dict.fromkeys([f"d{n}" for n in range(5)], 0.01)
        await publish(work.bus, now_numbered(1_000, 2_000))
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        await work.until(lambda: len(sink.numbers()) == 1_000)
        # Behind until two rounds of all four lanes are left: at most the few writes of that time.
        assert len(sink.numbers(HISTORICAL)) <= 120
        await work.until(lambda: len(sink.numbers(HISTORICAL)) == 400)


async def test_a_slow_device_holds_up_no_other_lane(tmp_path: Path) -> None:
    sink = Sink()
    sink.slow = {"d0": 3600.0}
    async with delivering(tmp_path, sink, pool={"max": 8}) as work:
        for start in range(0, 1_000, 100):
            await publish(work.bus, now_numbered(start, start + 100, devices=50))
        lanes = {f"d{n}": zlib.crc32(f"d{n}".encode()) % 8 for n in range(50)}
        free = {device for device in lanes if lanes[device] != lanes["d0"]}
        assert len(free) > 25
        await work.until(lambda: len(sink.taken) == 20 * len(free))
        assert {reading.device for reading in sink.taken} == free
        assert work.ledger["pending"] == 1_000 - 20 * len(free)


async def test_a_sink_that_is_down_is_asked_by_one_lane_at_a_time(tmp_path: Path) -> None:
    """Eight lanes that retry must not be eight times the load on a sink that struggles."""
    sink = Sink()
    sink.fails = Unavailable("down")
    retry = {"base": "10ms", "max": "10ms", "breaker": {"failures": 3, "reset": "300ms"}}
    async with delivering(tmp_path, sink, pool={"max": 8}, retry=retry) as work:
        await publish(work.bus, now_numbered(0, 1_000, devices=100))
        await work.until(lambda: work.delivery.pool.breaker.state.value == "open")
        asked, began = sink.requests, time.monotonic()
        await asyncio.sleep(2)
        trials = (time.monotonic() - began) / 0.3 + 1
        assert sink.requests - asked <= trials
        sink.fails = None
        async with asyncio.timeout(5):
            await work.settled()
        assert work.ledger["delivered"] == 1_000
        assert work.delivery.pool.breaker.state.value == "closed"


async def test_the_one_that_tries_is_cancelled_and_another_tries(tmp_path: Path) -> None:
    breaker = Breaker(1, 0.05)
    breaker.failed()
    await asyncio.sleep(0.06)
    breaker.enter()
    breaker.abandoned()  # its lane was ended
    breaker.enter()
    with pytest.raises(BreakerOpen):
        breaker.enter()


async def test_a_subscription_that_takes_anothers_place_is_paused_too(tmp_path: Path) -> None:
    """A reload that changes a bridge must not resume it."""
    async with delivering(tmp_path, Sink()) as work:
        await publish(work.bus, now_numbered(0, 10))
        await work.settled()
        await work.delivery.pause()
        taken = await work.bus.subscribe("sink", ["d*"], lanes=2)
        assert taken.paused
        work.bus.unsubscribe("sink")
        assert (await work.bus.subscribe("sink")).paused


async def test_a_bridge_that_ends_in_good_order_sends_nothing_twice(tmp_path: Path) -> None:
    sink = Sink()
    sink.thinks = 0.3
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 50))
        await work.until(lambda: bool(sink.taken))
        await work.delivery.finish(5.0)
    sink.thinks = 0.0
    async with delivering(tmp_path, sink) as work:
        await work.settled()
        assert sorted(sink.numbers()) == list(range(50))


async def test_ending_does_not_wait_for_a_sink_that_never_answers(tmp_path: Path) -> None:
    sink = Sink()
    sink.thinks = 60.0
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 50))
        await work.until(lambda: bool(sink.taken))
        async with asyncio.timeout(10):
            await work.delivery.finish(0.2)


async def test_what_a_bridge_must_not_have_is_left_out_and_counted(tmp_path: Path) -> None:
    """Also after a restart, and when the journal is replayed."""
    sink = Sink()
    sink.leaves_out = Flag.FORWARDED  # type: ignore[attr-defined]
    readings = now_numbered(0, 300)
    for reading in readings[::3]:
        reading.flags = int(Flag.FORWARDED | Flag.LATE)
    only = now_numbered(300, 310)
    for reading in only:
        reading.flags = int(Flag.FORWARDED)
    wanted = [n for n in range(300) if n % 3]
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, readings)
        await work.settled()
        await publish(work.bus, only)
        await work.settled()
        assert sorted(sink.numbers()) == wanted
        assert (work.ledger["delivered"], work.ledger["dropped"]) == (200, {"forwarded": 110})
    async with delivering(tmp_path, sink) as work:
        assert (work.ledger["delivered"], work.ledger["dropped"]) == (200, {"forwarded": 110})
        await work.delivery.replay(readings[0].time, readings[-1].time + 1, "*")
        await work.until(lambda: work.delivery.as_dict()["replay"]["state"] == "done")
        assert sorted(sink.numbers(HISTORICAL)) == wanted
        assert sorted(sink.numbers()) == wanted
        assert work.ledger["replayed"] == 200


async def test_a_bridge_that_was_refused_often_enough_stops_keeps_its_data_and_asks(
    tmp_path: Path,
) -> None:
    sink = Sink()
    sink.fails = Denied("wrong token")
    retry = {"base": "10ms", "max": "20ms", "denied": 3, "breaker": {"failures": 100}}
    async with delivering(tmp_path, sink, retry=retry) as work:
        await publish(work.bus, now_numbered(0, 10))
        await work.until(lambda: work.delivery.state == "stopped")
        asked = sink.requests
        await publish(work.bus, now_numbered(10, 20))
        await asyncio.sleep(0.3)
        # Lanes whose attempt was on its way when the last refusal came.
        assert sink.requests <= asked + 3
        asked = sink.requests
        shown = work.delivery.as_dict()
        assert "berrygate bridges resume sink" in shown["last_error"]
        assert work.ledger["pending"] == 20
        with pytest.raises(Conflict, match="stopped"):
            await work.delivery.replay(0, 1, "*")
        sink.fails = None
        await work.delivery.resume()
        await work.settled()
        assert sorted(sink.numbers()) == list(range(20))
        shown = work.delivery.as_dict()
        assert (shown["state"], shown["last_error"]) == ("running", None)
        assert shown["troubles"]["day"] == {"denied": asked}
        assert (shown["troubles"]["outages"], shown["troubles"]["unaided"]) == (1, 0)
    sink.fails = Denied("again")
    async with delivering(tmp_path, sink, retry=retry) as work:
        await publish(work.bus, now_numbered(20, 30))
        await work.until(lambda: work.delivery.state == "stopped")
    sink.fails = None
    async with delivering(tmp_path, sink, retry=retry) as work:  # put right, and started again
        await work.settled()
        assert sorted(sink.numbers()) == list(range(30))


async def test_a_drivers_bug_costs_the_reading_that_it_is_met_by(tmp_path: Path) -> None:
    sink = Sink()
    take = sink.send

    async def crashes(conn: None, batch: Batch) -> None:
        if any(reading.values["n"] == 7 for reading in batch.readings):
            raise ZeroDivisionError("a bug")
        await take(conn, batch)

    sink.send = crashes  # type: ignore[method-assign]
    async with delivering(tmp_path, sink) as work:
        await publish(work.bus, now_numbered(0, 50))
        await work.settled()
        assert sorted(sink.numbers()) == [n for n in range(50) if n != 7]
        (letter,) = await work.letters.list("sink")
        assert (letter.reason, letter.detail) == (
            "unknown", "driver failed: ZeroDivisionError: a bug",
        )  # fmt: skip
        assert work.delivery.as_dict()["failed"].keys() == {"unknown"}
        assert work.delivery.state == "running"
