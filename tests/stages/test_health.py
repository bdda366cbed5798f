"""A score explains itself; the whole follows from its parts."""

import pytest

from gateway.stages.health import Deduction, Health, Level, above, level_of


@pytest.mark.parametrize(
    ("score", "level"),
    [(100, "EXCELLENT"), (90, "EXCELLENT"), (89, "GOOD"), (75, "GOOD"), (74, "WARNING"),
     (50, "WARNING"), (49, "CRITICAL"), (25, "CRITICAL"), (24, "FAILED"), (0, "FAILED")],
)  # fmt: skip
def test_levels(score: int, level: str) -> None:
    assert level_of(score).value == level


def test_above_costs_nothing_a_part_or_twice() -> None:
    assert above("cpu", 10, 50, 90, "busy") == []
    assert [d.cost for d in above("cpu", 50, 50, 90, "busy")] == [30]
    assert [d.cost for d in above("cpu", 90, 50, 90, "busy")] == [60]


def test_the_whole_shows_one_failed_part_among_many() -> None:
    health = Health()
    for number in range(9):
        health.register("bridge", f"well-{number}", list)
    lost = [Deduction("availability", 60, 10, 90, "no answer for 60 s")]
    health.register("bridge", "lost", lambda: lost)
    changed = health.evaluate()
    assert len(changed) == 10
    summary = health.summary()
    assert summary["components"]["bridge/lost"] == {"level": "FAILED", "score": 10}
    assert summary["level"] == "WARNING"
    assert summary["reasons"][0]["component"] == "bridge/lost"
    assert summary["reasons"][0]["text"] == "no answer for 60 s"
    assert health.evaluate() == []
    lost.clear()
    assert [part.name for part in health.evaluate()] == ["lost"]
    assert health.components["bridge/lost"].trend == "rising"
    assert health.summary()["score"] == 100


def test_unknown_is_not_failed() -> None:
    health = Health()
    health.watch("new", lambda: None)
    health.evaluate()
    assert health.devices["new"].level is Level.UNKNOWN
    assert health.summary()["level"] == "UNKNOWN"
    assert health.summary()["devices"] == {"UNKNOWN": 1}
