"""Kills at every point between receive, commit, acknowledge and send.

Of the gateway: it loses nothing that the broker had acknowledged, and repeats nothing. Of the
broker, alone or with the gateway: what the gateway had acknowledged is all there, and what is lost
is the end of what that broker had acknowledged before it was killed.
"""

import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.store.batching import LONGEST
from tests.support.faults import FULL, outcome, runs, seeded
from tests.support.killing import Kills, kill, kills
from tests.support.points import POINTS, Point

AUTOSAVE = 60.0
"""Seconds after which mosquitto saves what it holds: `autosave_interval` of the embedded one."""
LIFE = 5
"""Kills of a broker before a new gateway: the pauses before it is started again grow."""


def shuffled(chance: random.Random, things: list[Any]) -> Iterator[Any]:
    """All of them in chance's order, again and again."""
    while True:
        yield from chance.sample(things, len(things))


def check_hit(hits: Counter[str], among: Sequence[Point] = POINTS) -> None:
    """Every point was among those where it was stopped."""
    names = {hit.split(maxsplit=1)[1] for hit, count in hits.items() if count}
    assert names == {point.name for point in among}


@pytest.mark.timeout(3_000 if FULL else 300)
@pytest.mark.parametrize(
    ("case", "longest", "among"),
    [
        ("gateway-killed", 0.0, POINTS),
        ("gateway-killed-while-some-waits", 1.0, POINTS[:-1]),
        ("gateway-killed-while-all-waits", LONGEST, POINTS[:-1]),
    ],
)
def test_kill_of_the_gateway_loses_and_repeats_nothing(
    tmp_path: Path, case: str, longest: float, among: Sequence[Point]
) -> None:
    """Also while full buffers of history wait in memory; then its writes are rare."""
    chance, rounds = seeded(), runs(10, 100)
    starting = 0
    with kills(tmp_path, embedded=False, longest=longest) as run:
        with run.load():
            points = shuffled(chance, list(among))
            for number, point in enumerate(itertools.islice(points, rounds)):
                how = chance.choice(("SIGKILL", "SIGSTOP"))
                run.flowing()
                with run.stopped(point, chance, how):
                    run.house.kill()
                if number % 5 == 4:  # and again before it is ready
                    run.house.start(ready=False)
                    time.sleep(chance.uniform(0.05, 1.5))
                    run.house.kill()
                    starting += 1
                run.house.start()
        run.settle()
        stored = run.check()
        influx = run.stored()[1]
        published = run.publisher.acknowledged
        assert published == set(range(run.sent))
        assert published - set(stored) == set(), "lost"
        for found in (stored, influx):
            assert [n for n, count in found.items() if count > 1] == [], "twice"
        outcome(
            case, rounds=rounds + starting, published=len(published), lost=0,
            repeated=0, while_starting=starting, **{f"at {k}": v for k, v in run.hits.items()},
        )  # fmt: skip
        check_hit(run.hits, among)


def lost_tail(run: Kills, stored: Counter[int]) -> set[int]:
    """What is lost, after a check that it is the end of what each life of the broker had
    acknowledged: nothing that came later in the same life is there."""
    lost: set[int] = set()
    for life, numbers in run.lives().items():
        kept = [number for number in numbers if stored[number]]
        missing = [number for number in numbers if not stored[number]]
        assert not missing or not kept or missing[0] > kept[-1], (
            f"life {life}: {missing[0]} is lost, although {kept[-1]} is there"
        )
        lost.update(missing)
    return lost


def broker_of(run: Kills, chance: random.Random) -> int:
    """The embedded broker's process, which by chance has just saved what it holds: what it then
    has in flight, it sends again when it comes back."""
    run.flowing()
    pid = int(run.house.api("status")["broker"]["pid"])
    if chance.random() < 0.3:
        kill(pid, signal.SIGUSR1)
    return pid


def kill_both(run: Kills, point: Point, chance: random.Random) -> float:
    """Kill the broker and the gateway while the gateway stands still; when."""
    broker = broker_of(run, chance)
    with run.stopped(point, chance, "SIGSTOP"):
        at = time.monotonic()
        kill(broker)
        run.house.kill()
    run.house.start()
    return at


def kill_broker(run: Kills, point: Point, chance: random.Random) -> float:
    """Kill the broker while the gateway stands still, then let that go on; when."""
    broker = broker_of(run, chance)
    with run.stopped(point, chance, "SIGSTOP"):
        at = time.monotonic()
        kill(broker)
    kill(run.pid, signal.SIGCONT)
    run.house.wait(lambda: run.house.api("status")["broker"]["pid"] not in (None, broker))
    return at


@pytest.mark.timeout(3_000 if FULL else 300)
@pytest.mark.parametrize(
    ("case", "killing"), [("group-killed", kill_both), ("broker-killed", kill_broker)]
)
def test_kill_of_the_embedded_broker_loses_only_the_end_of_what_it_had_acknowledged(
    tmp_path: Path, case: str, killing: Callable[[Kills, Point, random.Random], float]
) -> None:
    chance, rounds = seeded(), runs(10, 100)
    hits: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    oldest = 0.0
    points = shuffled(chance, list(POINTS))
    for life in range(0, rounds, LIFE):
        with kills(tmp_path / str(life), embedded=True) as run:
            with run.load():
                run.flowing()
                killed = [killing(run, next(points), chance) for _ in range(LIFE)]
            run.settle()
            stored = run.check()
            lost = lost_tail(run, stored)
            for number in lost:
                at = run.publisher.answers[number][1]
                age = min(when - at for when in killed if when > at - 0.05)
                oldest = max(oldest, age)
            twice = {number for number, count in stored.items() if count > 1}
            assert twice <= run.publisher.repeated, "twice, although it was sent once"
            figures.update(published=run.sent, lost=len(lost), repeated=len(twice))
            hits.update(run.hits)
    assert oldest <= AUTOSAVE
    check_hit(hits)
    outcome(
        case, rounds=rounds, **figures, oldest_lost_s=round(oldest, 2),
        **{f"at {point}": count for point, count in hits.items()},
    )  # fmt: skip
