"""A stage that becomes the one that limits is named, with the reason, within 5 s; else nothing is.

Nothing here loses anything; it is about knowing why it is slow.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.support.faults import FULL, seeded
from tests.support.slowed import RATE, Slowed, a_core, calls_take, hogs, slowed

WITHIN = 5.0
QUIET = 600.0 if FULL else 60.0
Inject = Callable[[Slowed], "Iterator[None]"]


@dataclass(frozen=True)
class Kind:
    """A way to slow a stage down, and what is to be said of it."""

    name: str
    inject: Inject
    stage: str
    cause: str
    rate: int = RATE


def slow_sink(here: Slowed) -> Iterator[None]:
    here.proxy.delay = 1.5
    yield
    here.proxy.delay = 0.0


def throttled_sink(here: Slowed) -> Iterator[None]:
    here.patience = 2.0
    yield
    here.patience = 0.0


def absent_sink(here: Slowed) -> Iterator[None]:
    here.proxy.stop()
    with suppress(OSError):  # it had begun to wait for one more
        socket.create_connection(("127.0.0.1", here.proxy.port), 1).close()
    here.proxy.cut()
    yield


def one_lane_blocked(here: Slowed) -> Iterator[None]:
    here.held = b"d3"
    yield
    here.held = b""


def one_device_has_it_all(here: Slowed) -> Iterator[None]:
    here.load.devices = 1
    here.proxy.delay = 0.15
    yield


def slow_journal(here: Slowed) -> Iterator[None]:
    segment = max((here.house.directory / "data" / "journal").glob("*.seg*"))
    with calls_take(here.house.pid, "fdatasync", segment, 2.5):
        yield


def slow_history(here: Slowed) -> Iterator[None]:
    log = here.house.directory / "data" / "history.db-wal"
    with calls_take(here.house.pid, "fdatasync,fsync", log, 4.0):
        yield


def no_processor(here: Slowed) -> Iterator[None]:
    here.order("codec", 0.0001)  # so that it needs a quarter of the processor
    time.sleep(2.0)
    with hogs(here.core, 4):
        yield


def blocking_driver(here: Slowed) -> Iterator[None]:
    here.order("device", 0.6)
    yield


def slow_codec(here: Slowed) -> Iterator[None]:
    here.order("codec", 0.0019)
    yield


KINDS = {
    kind.name: kind
    for kind in (
        Kind("slow sink", slow_sink, "deliver:sink", "remote"),
        Kind("slow journal", slow_journal, "journal", "disk"),
        Kind("blocking driver", blocking_driver, "loop", "blocked"),
        Kind("slow codec", slow_codec, "decode", "service"),
        Kind("no processor", no_processor, "loop", "cpu", 2_500),
        Kind("one lane blocked", one_lane_blocked, "deliver:sink", "remote"),
        Kind("one device has it all", one_device_has_it_all, "deliver:sink", "queue"),
        Kind("throttled sink", throttled_sink, "deliver:sink", "remote"),
        Kind("slow history", slow_history, "history", "disk", 1_200),
        Kind("absent sink", absent_sink, "deliver:sink", "remote"),
    )
}
SHORT = list(KINDS)[:6]


def case(directory: Path, kind: Kind, settle: float) -> tuple[float | None, str]:
    """Inject once: after how long (s) it was found, and what was said first."""
    yields = kind.name == "no processor"
    with slowed(directory, a_core(), kind.rate, yields=yields) as here:
        if kind.name == "slow history":
            here.load.devices = 1  # chunks of 1,024 samples: so there is one to be written a second
        time.sleep(settle)
        with contextmanager(kind.inject)(here):
            began = time.time()
            deadline = time.monotonic() + WITHIN + 1.0
            while time.monotonic() < deadline:
                said = here.limits(began)
                if any(found[1:3] == (kind.stage, kind.cause) for found in said):
                    break
                time.sleep(0.1)
            said = here.limits(began)
    found = [
        at - began for at, stage, cause, _ in said if (stage, cause) == (kind.stage, kind.cause)
    ]
    return (found[0] if found else None), "; ".join(f"{s} ({c}): {t}" for _, s, c, t in said)


@pytest.mark.alone
@pytest.mark.timeout(1_800)
def test_what_limits_is_found_within_five_seconds(tmp_path: Path) -> None:
    """At least 19 of 20, and every kind. The short form has six cases: that all six are found at
    once would be more than is promised (19 of 20 each is 74 % for six), so one of them may be
    missed, but is tried once more then. A kind that is never found fails it, in either form."""
    chance, number = seeded(), count()

    def is_found(name: str) -> bool:
        kind = KINDS[name]
        took, said = case(tmp_path / str(next(number)), kind, chance.uniform(5.0, 7.0))
        print(f"{name}: {'-' if took is None else f'{took:.1f} s'}  {said}")
        return took is not None and took <= WITHIN

    names = [*KINDS, *KINDS] if FULL else SHORT
    found = [name for name in names if is_found(name)]
    print(f"found within {WITHIN:.0f} s: {len(found)} of {len(names)}")
    assert len(found) >= len(names) - max(len(names) // 20, 1)
    never = [name for name in dict.fromkeys(names) if name not in found]
    assert [name for name in never if not is_found(name)] == []


@pytest.mark.alone
@pytest.mark.timeout(1_200)
def test_nothing_is_said_while_nothing_limits(tmp_path: Path) -> None:
    with slowed(tmp_path, a_core()) as here:
        began = time.time()
        time.sleep(QUIET)
        said = here.limits(began)
        performance = here.house.api("performance")
    print(f"false alarms in {QUIET:.0f} s: {len(said)} {said}")
    assert performance["limits"] == []
    assert len(said) <= (1 if FULL else 0)
