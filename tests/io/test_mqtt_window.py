"""A broker's limit of unacknowledged messages is learnt, and slow devices are not taken for one."""

from gateway.io.mqtt.window import Window


class Clock:
    """Time that is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_broker_that_stops_at_its_limit_is_known_by_it() -> None:
    clock = Clock()
    window = Window(clock)
    for _ in range(20):
        clock.now += 0.01
        assert not window.arrived(1)
    clock.now += 1.0  # it waits for us
    window.acknowledged(20)
    clock.now += 0.01  # and goes on at once
    window.arrived(10)
    assert window.limit == 20
    clock.now += 0.01
    assert window.arrived(10), "nothing more comes before these are acknowledged"
    window.acknowledged(20)
    clock.now += 0.01
    window.arrived(21)
    assert window.limit is None, "it allows more than was thought"


def limit_after(
    bursts: int, size: int, between: float, first: float, rest: float, late: float = 0.0
) -> int | None:
    """What is taken for a limit where 20 times so many bursts of so many messages come so far
    apart (s), the first one so long after the last acknowledgement, and the next acknowledgement
    so long after the last one."""
    clock = Clock()
    window = Window(clock, late=lambda: late)
    for _ in range(20):
        for number in range(bursts):
            clock.now += between if number else first
            assert not window.arrived(size)
        clock.now += rest
        window.acknowledged(bursts * size)
    return window.limit


def test_slow_devices_are_no_limit() -> None:
    """Ten messages a second and a commit every 30 s: before each acknowledgement nothing had come
    for a while, and something comes soon after. Taken for a limit, it would write the card
    three times as often."""
    assert limit_after(300, 1, between=0.1, first=0.01, rest=0.09) is None


def test_what_lay_in_the_socket_while_nobody_looked_is_no_limit() -> None:
    """Under load it is read a few times a second: nothing seems to come in between."""
    assert limit_after(5, 60, between=0.2, first=0.05, rest=0.15, late=0.2) is None
