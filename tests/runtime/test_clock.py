"""Who is believed about the time, and what jumps do."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.bus.records import Stamp
from gateway.bus.times import Times
from gateway.core.contracts import Burst, Flag, boottime
from gateway.runtime.boots import read_boots
from gateway.runtime.clock import BUILT, Clock

SECOND = 10**9
DAY = 86_400 * SECOND
BOOT = "11111111-1111-1111-1111-111111111111"


class Machine:
    """A root directory, a kernel and a wall clock that a test sets."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.shift = 0
        self.kernel = False
        self.last = Stamp("", 0, 0)
        self.times = Times()
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + self.shift)
        self.write("proc/sys/kernel/random/boot_id", BOOT)

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def seen(self, ago: float, boot: str = "earlier") -> None:
        """The journal's last block was written so many seconds ago by the true clock."""
        wall = time.time_ns() - self.shift - int(ago * SECOND)
        self.last = Stamp(boot, 500 * SECOND, wall, True)
        self.times.learn(self.last)

    def clock(self, mode: str = "auto") -> Clock:
        return Clock(
            mode, self.times, self.last, self.root, root=self.root, kernel=lambda: self.kernel
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def burst() -> Burst:
    return Burst(time.time_ns(), ["t"], [b"1"])


def near(one: int, other: int) -> bool:
    return abs(one - other) < SECOND


@pytest.mark.parametrize(
    ("prepare", "source"),
    [
        (lambda m: None, "plausible"),
        (lambda m: m.write("run/systemd/timesync/other"), ""),
        (lambda m: m.write("run/systemd/timesync/synchronized"), "timesyncd"),
        (lambda m: m.write("run/chrony/pid"), ""),
        (lambda m: setattr(m, "kernel", True), "kernel"),
        # timesyncd is at work and has not spoken: the kernel may have been told by hand.
        (lambda m: (m.write("run/systemd/timesync/x"), setattr(m, "kernel", True)), ""),
        (lambda m: (m.write("run/chrony/pid"), setattr(m, "kernel", True)), "kernel"),
        (
            lambda m: (
                m.write("run/systemd/timesync/x"),
                m.write("sys/class/rtc/rtc0/since_epoch", str(int(time.time()))),
            ),
            "rtc",
        ),
        (
            lambda m: (
                m.write("run/systemd/timesync/x"),
                m.write("sys/class/rtc/rtc0/since_epoch", "120"),
            ),
            "",
        ),
        (lambda m: setattr(m, "shift", -20 * 365 * DAY), ""),
        (lambda m: (setattr(m, "kernel", True), setattr(m, "shift", -20 * 365 * DAY)), ""),
        (lambda m: (m.seen(3_600), setattr(m, "shift", -DAY)), ""),
        (lambda m: (m.seen(2 * 86_400), setattr(m, "shift", -DAY)), "plausible"),
    ],
)
async def test_who_is_believed(
    machine: Machine, prepare: Callable[[Machine], object], source: str
) -> None:
    prepare(machine)
    clock = machine.clock()
    assert (clock.source, clock.synced) == (source, bool(source))


async def test_trust_believes_anything(machine: Machine) -> None:
    machine.shift = -20 * 365 * DAY
    assert machine.clock("trust").source == "trust"


async def test_wrong_time_is_after_the_last_seen_and_put_right_once_set(machine: Machine) -> None:
    machine.seen(3_600)
    machine.shift = -20 * 365 * DAY
    clock = machine.clock()
    when, flags = clock.received(burst())
    assert flags == Flag.UNSYNCED
    assert when >= machine.last.wall
    told: list[str] = []
    clock.tell(told.append)
    assert told == ["earlier"]
    stamp = clock.stamp()
    machine.shift = 0
    clock.look()
    assert clock.synced
    assert told == ["earlier", BOOT]
    shift = machine.times.shift(stamp.boot, stamp.base)
    assert shift is not None
    assert near(when + shift, time.time_ns())
    assert clock.received(burst())[1] == 0


async def test_set_between_arrival_and_decoding_tears_nothing(machine: Machine) -> None:
    """A burst that came before the clock was set, decoded after it: 56 years off otherwise."""
    machine.shift = -20 * 365 * DAY
    clock = machine.clock()
    early = burst()
    machine.shift = 0
    assert near(clock.received(early)[0], time.time_ns())


async def test_jump_that_somebody_vouches_for_is_followed_at_once(machine: Machine) -> None:
    machine.write("run/systemd/timesync/synchronized")
    clock = machine.clock()
    for shift in (DAY, 0, -DAY, 0):
        machine.shift = shift
        when, flags = clock.received(burst())
        assert near(when, time.time_ns())
        assert flags == 0


async def test_jump_to_where_it_cannot_be_is_not_followed(machine: Machine) -> None:
    machine.seen(60)
    clock = machine.clock()
    assert clock.source == "plausible"
    machine.shift = -DAY
    when, flags = clock.received(burst())
    assert near(when, time.time_ns() + DAY)
    assert flags == 0
    assert clock.source == "boottime"
    machine.shift = 0
    clock.look()
    assert clock.source == "plausible"


async def test_jump_to_2099_makes_nothing_old_also_after_a_restart(machine: Machine) -> None:
    """Retention would delete everything that is young."""
    machine.kernel = True
    machine.seen(60)
    clock = machine.clock()
    machine.shift = 73 * 365 * DAY
    clock.look()
    true = time.time_ns() - machine.shift
    assert clock.at_least() <= true + SECOND
    clock._save(list(machine.times.boots.values()))
    machine.last = clock.stamp()
    again = Clock(
        "auto", Times(), machine.last, machine.root, root=machine.root, kernel=lambda: True
    )
    assert near(again.now(), time.time_ns())
    assert again.at_least() <= true + SECOND


async def test_a_clock_nobody_vouches_for_deletes_by_running_time_only(machine: Machine) -> None:
    machine.seen(30 * 86_400)
    clock = machine.clock()
    assert clock.source == "plausible"
    assert near(clock.at_least(), max(machine.last.wall, BUILT))


async def test_times_of_a_boot_stay_one_clock_over_restarts(machine: Machine) -> None:
    """Readings of two processes in one boot would else be out of order among themselves."""
    machine.write("run/systemd/timesync/x")
    first = machine.clock()
    before, _ = first.received(burst())
    machine.last = first.stamp()
    machine.times.learn(machine.last)
    machine.shift = -20 * 365 * DAY
    second = machine.clock()
    assert near(second.received(burst())[0], before)
    assert second.stamp().base == machine.last.base


async def test_set_earlier_in_this_boot_is_known_after_a_restart(machine: Machine) -> None:
    machine.write("run/systemd/timesync/synchronized")
    first = machine.clock()
    first._save(list(machine.times.boots.values()))
    assert [boot.id for boot in read_boots(machine.root / "clock.json")] == [BOOT]
    (machine.root / "run/systemd/timesync/synchronized").unlink()
    machine.shift = -20 * 365 * DAY
    again = Clock("auto", Times(), first.stamp(), machine.root, root=machine.root)
    assert again.source == "boottime"
    assert near(again.received(burst())[0], time.time_ns() + 20 * 365 * DAY)


async def test_waiting_ends_when_the_clock_is_set_or_after_its_time(machine: Machine) -> None:
    machine.shift = -20 * 365 * DAY
    clock = machine.clock()
    await clock.wait(0.05)
    assert not clock.synced
    task = asyncio.create_task(clock.run())
    try:
        machine.shift = 0
        await clock.wait(30)
        assert clock.synced
        async with asyncio.timeout(10):
            while not (machine.root / "clock.json").exists():
                await asyncio.sleep(0.01)
    finally:
        task.cancel()


async def test_a_file_that_cannot_be_written_or_read_stops_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    (machine.root / "clock.json").mkdir()
    clock = machine.clock()
    clock._save(list(machine.times.boots.values()))
    clock._save(list(machine.times.boots.values()))
    assert clock.synced
    assert caplog.text.count("cannot be written") == 1


async def test_status_says_who_and_since_when(machine: Machine) -> None:
    machine.kernel = True
    found = machine.clock().as_dict()
    assert found["synced"] is True
    assert found["source"] == "kernel"
    assert near(int(found["offset"] * 1e9) + boottime(), time.time_ns())
    assert near(found["since"] * 1_000_000, time.time_ns())
