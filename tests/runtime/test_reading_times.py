"""Which time a reading gets: its device's where it can be true, else ours; and its marks."""

from collections.abc import Sequence

import pytest

from gateway.codecs.json import JsonSettings
from gateway.core.contracts import Burst, Flag, Reading, Value
from gateway.runtime.decoded import Limits
from gateway.runtime.decoding import Decoder

SECOND = 10**9
DAY = 86_400 * SECOND
NOW = 1_795_000_000 * SECOND


class Anybody:
    """A registry that lets everything in."""

    def id_of(self, original: str, source: str) -> str:
        return original

    def __init__(self) -> None:
        self.delays: list[float] = []

    def delayed(self, device: str, seconds: float) -> None:
        self.delays.append(seconds)

    def admit(self, device: str, values: dict[str, Value]) -> dict[str, Value]:
        return values


class Source:
    """Decodes at times that a test sets."""

    def __init__(self) -> None:
        self.now = NOW
        self.flags = 0
        self.registry = Anybody()
        self.decoder = Decoder(
            "s", JsonSettings().build(), lambda topic: "d", self.registry, Limits(),
            lambda burst: (self.now, self.flags),
        )  # fmt: skip

    def takes(self, *payloads: bytes, late: bool = False) -> Sequence[Reading]:
        burst = Burst(self.now, ["t"] * len(payloads), payloads, late=late)
        return self.decoder.decode(burst).readings


@pytest.fixture
def source() -> Source:
    return Source()


def test_times_follow_a_clock_that_is_set_back(source: Source) -> None:
    """Else every reading has the same day-old time, one ns apart, until the day is over."""
    for shift in (0, DAY, 0, -DAY, -DAY + SECOND, 0):
        source.now = NOW + shift
        (found,) = source.takes(b"1")
        assert abs(found.time - source.now) < SECOND


def test_times_of_one_moment_are_never_the_same(source: Source) -> None:
    found = [r.time for _ in range(3) for r in source.takes(*[b"1"] * 2_000)]
    assert len(set(found)) == 6_000
    assert found == sorted(found)


@pytest.mark.parametrize(("own", "believed"), [(-DAY, True), (DAY // 2, True), (2 * DAY, False)])
def test_a_devices_own_time_wins_where_it_can_be_true(
    source: Source, own: int, believed: bool
) -> None:
    (found,) = source.takes(b'{"time": %d, "a": 1}' % ((NOW + own) // 1_000_000))
    assert (abs(found.time - NOW - own) < SECOND) is believed
    source.now = NOW + 10 * DAY  # the limit goes with the clock
    (found,) = source.takes(b'{"time": %d, "a": 1}' % ((NOW + 2 * DAY) // 1_000_000))
    assert abs(found.time - NOW - 2 * DAY) < SECOND


def test_only_times_of_our_own_clock_are_marked(source: Source) -> None:
    """A device's own right time, marked, would be moved when our clock is set."""
    source.flags = int(Flag.UNSYNCED)
    own, ours, wrong = source.takes(
        b'{"time": %d, "a": 1}' % (NOW // 10**6), b"1", b'{"ts":5,"a":1}'
    )
    assert (own.time, own.flags) == (NOW, 0)
    assert ours.flags == wrong.flags == Flag.UNSYNCED
    made = [Reading("d", NOW - SECOND, {"a": 1.0}), Reading("d", NOW - DAY, {"a": 1.0})]
    near, far = source.decoder.take(Burst(NOW, readings=made), made).readings
    assert (near.time, near.flags) == (NOW - SECOND, Flag.UNSYNCED)
    assert (far.time, far.flags) == (NOW - DAY, 0)


def test_late_is_marked(source: Source) -> None:
    assert [r.flags for r in source.takes(b"1", b'{"time": 1795000000, "a": 1}', late=True)] == [
        Flag.LATE, Flag.LATE,
    ]  # fmt: skip


def test_what_another_gateway_sent_is_flagged(source: Source) -> None:
    for flags in (0, int(Flag.UNSYNCED)):
        source.flags = flags
        payloads = [b"1", b'{"time": 1795000000123.000001, "n": 1}', b"1"]
        burst = Burst(NOW, ["t"] * 3, payloads, forwarded=[True, True, False], late=True)
        one, two, three = source.decoder.decode(burst).readings
        forwarded = int(Flag.FORWARDED | Flag.LATE)
        assert (one.flags, two.flags) == (forwarded | flags, forwarded)
        assert three.flags == int(Flag.LATE) | flags
        assert two.time == 1_795_000_000_123_000_001


def test_how_long_a_reading_took_is_told_where_the_device_gave_a_time(source: Source) -> None:
    at = NOW // 1_000_000
    source.takes(b'{"a": 1}', b'{"time": %d, "a": 1}' % (at - 1_500))
    source.takes(b'{"time": %d, "a": 1}' % (at + 250))  # its clock is ahead
    source.takes(b'{"time": 5, "a": 1}')  # it has none
    source.takes(b'{"time": %d, "a": 1}' % (at - 60_000), late=True)  # it waited at the broker
    source.flags = int(Flag.UNSYNCED)
    source.takes(b'{"time": %d, "a": 1}' % (at - 60_000))
    assert source.registry.delays == [1.5, -0.25]
