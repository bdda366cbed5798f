"""A disk that is full or read-only holds devices back; nothing is lost, and it is said why.

Only the gateway's data is on the disk; the broker is elsewhere and keeps what is not acknowledged.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.disks import (
    Card,
    Filler,
    errors,
    needs_loop,
    needs_root,
    needs_strace,
    small_disk,
)
from tests.support.faults import FULL, outcome
from tests.support.gateway import Gateway
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.publisher import payload
from tests.support.troubled import (
    RATE,
    Load,
    answers,
    everything_arrived,
    gateway_on,
    in_trouble,
    resumed,
)

SECONDS = 60 if FULL else 3


def large(number: int) -> bytes:
    """A message that does not compress, so that a segment is soon full."""
    noise = b", ".join(b'"v%d": %a' % (n, random.random()) for n in range(50))
    return b'{"seq": %d, %s}' % (number, noise)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


def through(
    house: Gateway,
    broker: Mosquitto,
    why: str,
    begin: Callable[[], Callable[[], None]],
    make: Callable[[int], bytes] = payload,
) -> dict[str, float]:
    """Load before, during and after a trouble; `begin` starts it and gives how it ends."""
    with Load(broker.port, make) as load:
        house.wait(lambda: house.api("status")["journal"]["next"] > RATE)
        end = begin()
        in_trouble(house, why)
        slowest = answers(house, SECONDS)
        held = load.sent - (house.api("status")["journal"]["next"] - 1)
        end()
        resumes = resumed(house)
        time.sleep(1)
    everything_arrived(house, load.sent)
    assert held > 0, "nothing was held back"
    assert resumes <= 5, f"resumed after {resumes:.1f} s"
    assert slowest <= 5, f"an answer took {slowest:.1f} s"
    return {
        "seconds": SECONDS, "messages": load.sent, "held_back": held, "lost": 0,
        "resumed_after_s": round(resumes, 1), "slowest_answer_s": round(slowest, 2),
    }  # fmt: skip


@needs_root
@pytest.mark.timeout(300)
def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with (
        small_disk(tmp_path / "disk", 40) as disk,
        gateway_on(disk, broker, tmp_path / "home") as house,
    ):

        def begin() -> Callable[[], None]:
            return Filler(disk).end

        figures = through(house, broker, "No space", begin, large)
        assert "ballast is let go" in house.log.read_text()
        house.wait(lambda: (disk / "data" / "journal" / "ballast").exists(), 30)
        outcome("disk-full", **figures)


@needs_strace
@pytest.mark.timeout(300)
def test_a_disk_that_refuses_writes_loses_nothing_and_goes_on(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with gateway_on(tmp_path, broker, tmp_path / "home") as house:
        assert house.process is not None
        refused = errors(house.process.pid, "EROFS")

        def begin() -> Callable[[], None]:
            refused.__enter__()
            return lambda: refused.__exit__(None, None, None)

        outcome("disk-refuses", **through(house, broker, "Read-only", begin))


@needs_loop
@pytest.mark.timeout(300)
def test_a_card_that_turns_read_only_loses_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    """Such a file system is not writable again until it was unmounted and checked."""
    with Card(tmp_path, 64) as card:
        with (
            gateway_on(card.directory, broker, tmp_path / "home") as house,
            Load(broker.port) as load,
        ):
            house.wait(lambda: house.api("status")["journal"]["next"] > RATE)
            card.fail()
            in_trouble(house, "Read-only")
            slowest = answers(house, SECONDS)
        card.unmount()
        card.mount()
        house.start()
        try:
            everything_arrived(house, load.sent)
        finally:
            house.stop()
        outcome("disk-read-only", seconds=SECONDS, messages=load.sent, lost=0,
                slowest_answer_s=round(slowest, 2))  # fmt: skip
