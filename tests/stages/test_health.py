"""A score explains itself; the whole follows from its parts; devices are looked at in time."""

import time
from collections.abc import Sequence

import pytest

from gateway.config.health import HealthSettings
from gateway.stages.health import Deduction, Health, Level, Limit, Rules, level_of, over
from tests.support.listener import Listener


@pytest.mark.parametrize(
    ("score", "level"),
    [(100, "EXCELLENT"), (90, "EXCELLENT"), (89, "GOOD"), (75, "GOOD"), (74, "WARNING"),
     (50, "WARNING"), (49, "CRITICAL"), (25, "CRITICAL"), (24, "FAILED"), (0, "FAILED")],
)  # fmt: skip
def test_levels(score: int, level: str) -> None:
    assert level_of(score).value == level


def test_a_limit_costs_nothing_then_half_its_weight_then_more_up_to_all_of_it() -> None:
    limits = {"lag": Limit(60, 600, 60)}
    assert over(limits, "lag", 59.9, "late") == []
    costs = [over(limits, "lag", value, "late")[0].cost for value in (60, 330, 600, 6000)]
    assert costs == [30, 45, 60, 60]
    assert over({"lag": Limit(60, 600, 0)}, "lag", 6000, "late") == []
    assert over({}, "lag", 6000, "late") == []


def test_a_limit_may_be_reached_from_above() -> None:
    limits = {"disk_full": Limit(86_400, 3_600, 40)}
    assert over(limits, "disk_full", 90_000, "soon") == []
    costs = [over(limits, "disk_full", value, "soon")[0].cost for value in (86_400, 45_000, 60)]
    assert costs == [20, 30, 40]


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


def test_another_trouble_is_told_although_the_score_stays_at_the_bottom() -> None:
    health = Health()
    lost = [Deduction("availability", 60, 10, 100, "no answer for 60 s")]
    health.register("bridge", "lost", lambda: list(lost))
    assert [part.name for part in health.evaluate()] == ["lost"]
    lost[0] = Deduction("availability", 61.5, 10, 100, "no answer for 61.5 s")
    assert health.evaluate() == []
    lost[0] = Deduction("availability", 62, 10, 100, "it refuses our password")
    assert [part.name for part in health.evaluate()] == ["lost"]
    lost.append(Deduction("disk_full", 0, 10, 20, "the disk is full"))
    assert [part.name for part in health.evaluate()] == ["lost"]
    assert health.evaluate() == []


def test_devices_are_not_all_told_again_when_their_sources_trouble_has_other_words() -> None:
    health, found = Health(), [Deduction("staleness", 9, 5, 80, "silent; connection refused")]
    health.watch("pump", lambda: list(found))
    assert [part.name for part in health.evaluate()] == ["pump"]
    found[0] = Deduction("staleness", 9, 5, 80, "silent; timed out")
    assert health.evaluate() == []
    found.append(Deduction("error_rate", 9, 5, 5, "9 % cannot be decoded"))
    assert [part.name for part in health.evaluate()] == ["pump"]


def test_the_formula_of_the_whole() -> None:
    weights = {"stage/*": 2.0, "bridge/spare": 0.5, "stage/quiet": 0.0}
    health = Health(Rules(weights=weights))
    for kind, name, cost in (
        ("bridge", "home", 0), ("bridge", "spare", 80), ("stage", "journal", 20),
        ("stage", "quiet", 90),
    ):  # fmt: skip
        health.register(kind, name, Listener([Deduction("x", 1, 0, cost, "x")]))
    health.watch("pump", Listener([Deduction("staleness", 1, 0, 40, "x")]))
    health.watch("well", Listener([]))
    health.evaluate()
    # Devices are one part of 80. Parts: 100 x 1, 20 x 0.5, 80 x 2, 10 x 0, 80 x 1; the worst,
    # where half a weight makes half of what is missing: 100 - 0.5 x 80 = 60.
    assert health.score() == round((100 + 10 + 160 + 80) / 4.5 / 2 + 60 / 2)


def test_unknown_is_not_failed() -> None:
    health = Health()
    health.watch("new", Listener(None))
    health.evaluate()
    assert health.devices["new"].level is Level.UNKNOWN
    assert health.summary()["level"] == "UNKNOWN"
    assert health.summary()["devices"] == {"UNKNOWN": 1}
    assert health.visibility == 1.0


def test_a_device_is_looked_at_when_it_is_due_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, ahead = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead)
    health = Health()
    well = Listener([])
    health.watch("well", well)
    for _ in range(5):
        ahead += 1
        health.evaluate()
    assert well.looked == 1
    well.found, well.later = [Deduction("staleness", 70, 60, 60, "silent")], 5.0
    ahead += 1000
    assert [part.name for part in health.evaluate()] == ["well"]
    assert health.summary()["devices"] == {"CRITICAL": 1}
    assert [each["device"] for each in health.summary()["worst"]] == ["well"]
    # Silent: looked at every few seconds, and at once when it is heard again.
    looked = well.looked
    for _ in range(10):
        ahead += 1
        health.evaluate()
    assert 1 <= well.looked - looked <= 3
    well.found, well.heard = [], True
    ahead += 1
    assert [part.name for part in health.evaluate()] == ["well"]
    assert health.devices["well"].score == 100
    assert health.summary()["worst"] == []
    for _ in range(7):
        ahead += 1
        health.evaluate()
    assert health.summary()["devices"] == {"EXCELLENT": 1}


def test_what_is_allowed_to_a_device_becomes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of a new one, so that it may be silent for long; a minute later it is."""
    real, ahead = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead)
    health = Health()
    device = Listener([])
    health.watch("new", device)
    health.evaluate()
    device.later = 60.0
    ahead += 60
    health.look(health.devices["new"])  # its turn to be told of again
    device.found = [Deduction("staleness", 70, 60, 60, "silent")]
    found = []
    while not found:
        ahead += 1
        found = health.evaluate()
        assert ahead < 122


def test_a_probe_that_says_nothing_of_when_is_looked_at_each_time() -> None:
    health = Health()
    found: list[Deduction] = []
    health.watch("pump", lambda: found)
    assert [part.name for part in health.evaluate()] == ["pump"]
    assert health.evaluate() == []
    found.append(Deduction("staleness", 1, 0, 40, "x"))
    assert [part.name for part in health.evaluate()] == ["pump"]
    found.clear()
    assert [part.name for part in health.evaluate()] == ["pump"]
    found.append(Deduction("staleness", 1, 0, 80, "x"))
    assert [part.level for part in health.evaluate()] == [Level.FAILED]


def test_what_nobody_looked_at_was_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real, ahead = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead)
    health = Health()
    health.register("stage", "journal", list)
    unknown: list[Sequence[Deduction] | None] = [[]]
    health.register("stage", "machine", lambda: unknown[0])
    for _ in range(90):
        ahead += 1
        health.evaluate()
    assert health.visibility == pytest.approx(1.0)
    ahead += 10  # nobody looked for 10 s: 5 of them are not fresh, of 100
    health.evaluate()
    assert health.visibility == pytest.approx(0.95, abs=0.002)
    assert health.late == pytest.approx(9, abs=0.1)
    unknown[0] = None
    for _ in range(11):
        ahead += 1
        health.evaluate()
    assert health.visibility == pytest.approx((94 + 11 + 94 + 1) / 220, abs=0.002)


def test_the_configuration_gives_the_rules() -> None:
    settings = HealthSettings.model_validate(
        {
            "limits": {"lag": {"warning": "30s"}},
            "special": [
                {"parts": ["bridge/slow-*"], "limits": {"lag": {"warning": "2m", "weight": 10}}},
            ],
            "silence": {"missed": 3},
        }
    )
    rules = settings.rules()
    assert rules.of("bridge/home")["lag"] == Limit(30.0, 600.0, 40)
    assert rules.of("bridge/slow-1")["lag"] == Limit(120.0, 600.0, 10)
    assert rules.of("bridge/slow-2") is rules.of("bridge/slow-1")
    assert rules.of("bridge/slow-1")["memory"] == rules.of("bridge/home")["memory"]
    assert rules.silence.missed == 3
    other = HealthSettings.model_validate({"limits": {"lag": {"warning": "40s"}}}).rules()
    rules.adopt(other)
    assert rules.of("bridge/slow-1")["lag"].warning == 40.0


@pytest.mark.parametrize(
    ("metric", "limit", "where"),
    [("lag", {"warning": "20m"}, "above"), ("disk_full", {"warning": "1m"}, "below")],
)
def test_limits_the_wrong_way_round_are_refused(
    metric: str, limit: dict[str, str], where: str
) -> None:
    with pytest.raises(ValueError, match=f"critical is not {where} warning"):
        HealthSettings.model_validate({"limits": {metric: limit}})
