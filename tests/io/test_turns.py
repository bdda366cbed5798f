"""Whose turn it is on a wire: grids, backing off, signs of life; and what is told of it."""

import pytest

from gateway.core.events import Connected, Disconnected, Event
from gateway.io.turns import LOOK, SLOWEST, Turn, Turns


def turns(*several: Turn) -> tuple[Turns, list[Event]]:
    events: list[Event] = []
    return Turns("wire", events.append, several), events


def test_each_keeps_its_grid_and_nobody_is_read_twice_for_what_was_missed() -> None:
    quick, slow = Turn("quick", "quick", 1.0), Turn("slow", "slow", 4.0)
    both, _ = turns(quick, slow)
    both.begin(100.0)
    read: list[tuple[str, float]] = []
    now = 100.0
    while now < 110.0:
        turn = both.next()
        assert turn is not None
        now = max(turn.wake, now) + 0.01
        read.append((turn.name, round(now, 2)))
        both.answered(turn, now)
    assert sum(name == "quick" for name, _ in read) == 11  # the last one at 110
    assert [at for name, at in read if name == "slow"] == pytest.approx([100.02, 104.02, 108.02])
    both.answered(quick, 200.3)  # after a long pause
    assert quick.due == 201.0


def test_who_does_not_answer_is_asked_ever_more_rarely_and_told_of_once() -> None:
    dead, well = Turn("dead", "dead (at 0x10)", 1.0), Turn("well", "well", 1.0)
    both, events = turns(dead, well)
    pauses, now = [], 0.0
    for _ in range(8):
        both.missed(dead, "no answer", now, "wire it")
        pauses.append(dead.due - now)
        now = dead.due
    assert pauses == [2, 4, 8, 16, SLOWEST, SLOWEST, SLOWEST, SLOWEST]
    assert (both.trouble, both.concern) == ("", "dead (at 0x10): no answer")
    both.missed(dead, "timed out", now)
    assert both.concern == "dead (at 0x10): timed out"
    both.missed(well, "no answer", now)
    assert both.trouble == "dead (at 0x10): timed out; well: no answer"
    assert both.concern == ""
    both.answered(dead, now)
    assert (both.trouble, both.concern) == ("", "well: no answer")
    assert [type(each) for each in events] == [Disconnected, Disconnected, Connected]
    assert dead.due == pytest.approx(now + 1, abs=1)
    rare = Turn("rare", "rare", 3_600.0)
    both.missed(rare, "no answer", 0.0)
    assert rare.due == SLOWEST  # it is to heal before it is read next


def test_a_sign_of_life_comes_between_readings_that_are_far_apart() -> None:
    rare, often = Turn("rare", "rare", 60.0, looks=True), Turn("often", "often", 2.0, looks=True)
    shy = Turn("shy", "shy", 60.0)
    three, _ = turns(rare, often, shy)
    three.begin(10.0)
    assert {each.wake for each in (rare, often, shy)} == {10.0}
    for each in (rare, often, shy):
        three.answered(each, 10.1)
    assert rare.wake == 10.1 + LOOK
    assert (often.wake, shy.wake) == (12.0, 70.0)
    three.answered(rare, 15.2, read=False)
    assert (rare.wake, rare.due, rare.answered) == (15.2 + LOOK, 70.0, 1)
    three.missed(rare, "no answer", 20.0)
    assert rare.wake == rare.due == 20.0 + SLOWEST


def test_nobody() -> None:
    empty, _ = turns()
    assert empty.next() is None
    assert empty.trouble == empty.concern == ""
