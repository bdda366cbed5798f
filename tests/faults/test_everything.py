"""Whatever else fails, at random and at once: at the end every good message is there, once."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults import FULL, outcome, seeded
from tests.support.killing import Kills, kills
from tests.support.packets import KINDS, Cut
from tests.support.publisher import payload

SECONDS = 300.0 if FULL else 15.0
BAD = (b"{", b"", b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 5_000, b"not json", b"null")


def is_bad(number: int) -> bool:
    return number % 50 == 49


def mixed(number: int) -> bytes:
    """Every fiftieth message is bad, of one kind after another."""
    return BAD[number // 50 % len(BAD)] if is_bad(number) else payload(number)


def sink_out(run: Kills, chance: random.Random) -> None:
    """The sink is away for a while."""
    run.influx.stop()
    time.sleep(chance.uniform(0.1, 2))
    run.influx.start()


def broker_restarted(run: Kills, chance: random.Random) -> None:
    """The broker ends in good order, and comes back."""
    assert run.broker is not None
    run.broker.stop()
    time.sleep(chance.uniform(0, 0.5))
    run.broker.start()


def killed(run: Kills, chance: random.Random) -> None:
    """The gateway is killed, perhaps again while it starts."""
    run.house.kill()
    run.house.start(ready=chance.random() < 0.7)


def cut_anywhere(run: Kills, chance: random.Random) -> None:
    """The connection is cut at some packet that comes, or does not come, soon."""
    kind = chance.choice(list(KINDS.values()))
    where = chance.choice(("before", "middle", "after"))
    run.proxy.cut_next(Cut(kind, chance.randint(1, 3), where))


def cut_now(run: Kills, chance: random.Random) -> None:
    """The connection is cut wherever it is."""
    run.proxy.cut()


FAULTS: tuple[Callable[[Kills, random.Random], None], ...] = (
    sink_out, broker_restarted, killed, cut_anywhere, cut_now
)  # fmt: skip


@pytest.mark.timeout(SECONDS + 240)
def test_everything_at_once_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance = seeded()
    done: Counter[str] = Counter()
    with kills(tmp_path, embedded=False, make=mixed) as run:
        with run.load():
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                for fault in chance.sample(FAULTS, len(FAULTS)):
                    time.sleep(chance.uniform(0.1, 1.5))
                    fault(run, chance)
                    done[fault.__name__] += 1
            run.house.wait(lambda: run.house.get("/readyz").status_code == 200)
            run.proxy.cut_at = None
        run.settle()
        stored = run.check()
        good = {number for number in run.publisher.acknowledged if not is_bad(number)}
        bad = run.sent - len(good)
        assert good == {number for number in range(run.sent) if not is_bad(number)}
        assert good - set(stored) == set(), "lost"
        twice = {number for number, count in stored.items() if count > 1}
        assert twice <= run.publisher.repeated, "twice, although it was sent once"
        status = run.house.api("status")
        ledger = status["ledger"]["bridges"]["sink"]
        assert ledger["matched"] == ledger["delivered"] == stored.total()
        letters = sum(entry["count"] for entry in status["dead_letters"])
        assert letters >= bad
        outcome("everything", seconds=SECONDS, **done, published=run.sent, lost=0,
                sent_and_stored_twice=len(twice), bad=bad, dead_letters=letters)  # fmt: skip
