"""A value at the border does not make a level flap."""

import random

from gateway.stages.health import Grade, Hysteresis, Level

RULE = Hysteresis(margin=3, better=5.0)


def test_worse_at_once_better_only_clearly_and_for_a_while() -> None:
    grade = Grade()
    assert grade.take(100, 0, RULE)
    assert grade.take(74, 1, RULE)
    assert grade.level is Level.WARNING
    for second in range(2, 60):
        assert not grade.take(77, second, RULE)  # above the border, by less than the margin
    for second in range(60, 65):
        assert not grade.take(78, second, RULE)
    assert grade.take(78, 65, RULE)
    assert grade.level is Level.GOOD


def test_a_relapse_begins_the_wait_anew() -> None:
    grade = Grade()
    grade.take(60, 0, RULE)
    for second in range(1, 5):
        assert not grade.take(95, second, RULE)
    assert not grade.take(60, 5, RULE)
    assert not grade.moving
    for second in range(6, 11):
        assert not grade.take(95, second, RULE)
    assert grade.take(95, 11, RULE)
    assert grade.level is Level.EXCELLENT


def test_it_goes_only_as_far_up_as_the_score_stayed() -> None:
    grade = Grade()
    grade.take(10, 0, RULE)
    grade.take(100, 1, RULE)
    grade.take(60, 3, RULE)
    assert grade.take(100, 6, RULE)
    assert grade.level is Level.WARNING


def test_worse_may_be_told_to_wait() -> None:
    rule = Hysteresis(worse=10.0)
    grade = Grade()
    grade.take(100, 0, rule)
    assert not grade.take(20, 1, rule)
    assert not grade.take(100, 5, rule)
    assert not grade.take(20, 6, rule)
    assert not grade.take(20, 12, rule)
    assert grade.take(20, 16, rule)
    assert grade.level is Level.FAILED


def test_unknown_comes_and_goes_at_once() -> None:
    grade = Grade()
    assert not grade.take(None, 0, RULE)
    assert grade.take(30, 1, RULE)
    assert grade.take(None, 2, RULE)
    assert grade.take(100, 3, RULE)
    assert grade.level is Level.EXCELLENT


def test_noise_about_a_border_changes_the_level_once() -> None:
    noise = random.Random(7)
    with_inertia, without = Grade(), Grade()
    changes = [0, 0]
    for second in range(1000):
        score = 75 + noise.randint(-2, 2)
        changes[0] += with_inertia.take(score, second, RULE)
        changes[1] += without.take(score, second, Hysteresis(margin=0, better=0.0))
    assert changes[0] <= 2
    assert changes[1] > 100
