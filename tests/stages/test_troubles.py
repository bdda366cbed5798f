"""Errors by kind and minute; outages, how long they took and who healed them; all is bounded."""

from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.stages.troubles import Troubles

MINUTE = 60 * 10**9


class Clock:
    """Both clocks, moved by hand; at: ns."""

    def __init__(self) -> None:
        self.at = 1_000_000 * MINUTE

    def troubles(self) -> Troubles:
        return Troubles(lambda: self.at, lambda: self.at / 1e9)


def test_errors_by_kind_and_minute() -> None:
    clock = Clock()
    troubles = clock.troubles()
    for _ in range(3):
        troubles.failed(Unavailable("away"))
    clock.at += MINUTE
    troubles.failed(Rejected("bad"))
    begun = 1_000_000 * 60_000
    assert troubles.history()["minutes"] == [
        {"time": begun, "errors": {"unavailable": 3}},
        {"time": begun + 60_000, "errors": {"rejected": 1}},
    ]
    assert troubles.as_dict()["hour"] == {"unavailable": 3, "rejected": 1}
    clock.at += 59 * MINUTE
    assert troubles.as_dict()["hour"] == {"rejected": 1}
    assert troubles.as_dict()["day"] == {"unavailable": 3, "rejected": 1}
    clock.at += 1_440 * MINUTE
    assert troubles.as_dict()["day"] == {}
    assert troubles.history()["minutes"] == []


def test_outages_their_length_and_who_healed_them() -> None:
    clock = Clock()
    troubles = clock.troubles()
    troubles.recovered()  # nothing was wrong
    for seconds, helped in ((2, False), (4, True), (6, False)):
        troubles.failed(Unavailable("away"))
        clock.at += seconds * 10**9 // 2
        troubles.failed(Denied("no"))
        if helped:
            troubles.aided()
        clock.at += seconds * 10**9 // 2
        troubles.recovered()
        clock.at += MINUTE
    troubles.failed(Rejected("the data is to blame, not the other side"))
    troubles.recovered()
    found = troubles.as_dict()
    assert (found["outages"], found["unaided"], found["down"]) == (3, 2, 12.0)
    assert (found["recovery"], found["longest"], found["since"]) == (4.0, 6.0, None)
    assert [outage["unaided"] for outage in troubles.history()["outages"]] == [True, False, True]
    troubles.aided()  # before the next one began: no help with that
    troubles.failed(Unavailable("away"))
    assert troubles.as_dict()["since"] == clock.at // 10**6
    assert troubles.history()["now"] is not None
    clock.at += 5 * 10**9
    lasting = {"began": (clock.at - 5 * 10**9) // 10**6, "seconds": 5.0, "unaided": True}
    assert troubles.history()["now"] == lasting
    troubles.recovered()
    assert troubles.history()["now"] is None
    assert troubles.as_dict()["unaided"] == 3


def test_memory_is_bounded() -> None:
    clock = Clock()
    troubles = clock.troubles()
    for _ in range(3_000):
        troubles.failed(Unavailable("away"))
        troubles.recovered()
        clock.at += MINUTE
    assert len(troubles._minutes) == 1_440
    assert len(troubles._last) == 1_000
    assert troubles.as_dict()["outages"] == 3_000
