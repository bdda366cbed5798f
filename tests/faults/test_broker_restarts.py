"""A broker that is not ours, stopped or killed and started again, with and without its database.

What the gateway has acknowledged is there in any case. What such a broker loses is its own: all
that it had acknowledged and not yet given to the gateway, and what it acknowledges before the
gateway has subscribed again, where it has forgotten the session.
"""

import signal
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from tests.support.faults import FULL, outcome, runs, seeded
from tests.support.killing import Kills, kill, kills

LIFE = 5
"""Restarts before a new gateway: the pauses before it connects again grow."""


def restart(run: Kills, kept: bool, killed: bool) -> None:
    """Once. kept: a broker that keeps a database, and has saved it since we subscribed."""
    assert run.broker is not None
    assert run.broker.process is not None
    run.flowing()
    if kept:
        kill(run.broker.process.pid, signal.SIGUSR1)
        run.flowing()
    (run.broker.kill if killed else run.broker.stop)()
    run.broker.start()
    run.house.wait(lambda: run.house.api("status")["sources"][0]["state"] == "running")


def lost_at_the_ends(run: Kills, stored: Counter[int]) -> tuple[int, int]:
    """How many are lost of what the broker acknowledged in its lives, at their beginnings and at
    their ends; in between none may be."""
    first = last = 0
    for life, acknowledged in run.lives().items():
        # What was sent again may have reached us in the life before, which had no time to say so.
        again = run.publisher.repeated.intersection(acknowledged)
        first += sum(not stored[number] for number in again)
        numbers = [number for number in acknowledged if number not in again]
        places = [place for place, number in enumerate(numbers) if stored[number]]
        if not places:
            last += len(numbers)
            continue
        assert places == list(range(places[0], places[-1] + 1)), f"lost in the middle of {life}"
        first += places[0]
        last += len(numbers) - 1 - places[-1]
    return first, last


@pytest.mark.timeout(1_800 if FULL else 200)
@pytest.mark.parametrize(("kept", "killed"), list(product((True, False), (True, False))))
def test_restart_of_another_broker_loses_nothing_that_was_ours_to_keep(
    tmp_path: Path, kept: bool, killed: bool
) -> None:
    seeded()
    rounds = runs(2, 20)
    sent = before = behind = twice = 0
    extra = "" if kept else "persistence false"
    for life in range(0, rounds, LIFE):
        with kills(tmp_path / str(life), embedded=False, extra=extra) as run:
            with run.load():
                for _ in range(min(LIFE, rounds)):
                    restart(run, kept, killed)
            run.settle()
            stored = run.check()
            first, last = lost_at_the_ends(run, stored)
            before, behind, sent = before + first, behind + last, sent + run.sent
            repeated = {number for number, count in stored.items() if count > 1}
            assert repeated <= run.publisher.repeated, "twice, although it was sent once"
            twice += len(repeated)
    if kept:
        assert before == 0, "lost before the gateway had subscribed again"
    if kept and not killed:
        assert behind == 0, "lost what the broker had saved"
    name = f"broker-{'killed' if killed else 'stopped'}-{'with' if kept else 'without'}-database"
    outcome(name, rounds=rounds, published=sent, lost_at_its_end=behind,
            lost_before_we_subscribed=before, sent_and_stored_twice=twice)  # fmt: skip
