"""How long each strategy pauses: bounds, how they grow, and what a budget allows."""

from statistics import mean

import pytest

from gateway.core.settings import RetrySettings
from gateway.stages.strategies import RESERVE, Strategy, strategy


def settings(name: str, **more: object) -> RetrySettings:
    return RetrySettings.model_validate({"strategy": name, "base": "1s", "max": "60s", **more})


def chain(found: Strategy, failures: int) -> list[float]:
    """The pauses of one batch that fails so often."""
    pauses, before = [], 0.0
    for failure in range(1, failures + 1):
        before = found.pause(failure, before)
        pauses.append(before)
    return pauses


def mean_of(name: str, failure: int) -> float:
    found = strategy(settings(name))
    return mean(chain(found, failure)[-1] for _ in range(2_000))


@pytest.mark.parametrize("name", ["exponential", "decorrelated", "fixed", "budgeted"])
def test_no_pause_is_longer_than_the_longest(name: str) -> None:
    found = strategy(settings(name, max="7s"))
    pauses = [pause for _ in range(200) for pause in chain(found, 40)]
    assert all(0 <= pause <= 7 for pause in pauses)
    assert len(set(pauses)) > 1_000, "what fails together must not return together"


def test_exponential_doubles_up_to_the_longest() -> None:
    # Full jitter: the mean is half of the bound.
    for failure, bound in ((1, 1), (2, 2), (4, 8), (6, 32), (9, 60), (2_000, 60)):
        assert mean_of("exponential", failure) == pytest.approx(bound / 2, rel=0.1)


def test_decorrelated_grows_from_the_base_and_spreads() -> None:
    assert mean_of("decorrelated", 1) == 1.0
    # The next one lies between 1 and 3: 2 on average; then it goes on from what was drawn.
    assert mean_of("decorrelated", 2) == pytest.approx(2.0, rel=0.1)
    assert mean_of("decorrelated", 3) == pytest.approx(3.5, rel=0.1)
    assert min(chain(strategy(settings("decorrelated")), 5_000)) >= 1.0


def test_fixed_does_not_grow() -> None:
    pauses = chain(strategy(settings("fixed")), 1_000)
    assert min(pauses) >= 0.9
    assert max(pauses) <= 1.1
    assert mean(pauses[:500]) == pytest.approx(mean(pauses[500:]), rel=0.05)


def test_a_budget_allows_a_share_of_the_successes() -> None:
    """Once the reserve is used up; tries beside it are made once in a longest pause."""
    found = strategy(settings("budgeted", budget=0.25, max="1000s"))
    soon = sum(found.pause(1, 0.0) < 500 for _ in range(50))
    assert soon == RESERVE
    allowed = 0
    for _ in range(4_000):
        found.succeeded()
        allowed += found.pause(1, 0.0) < 500
    assert allowed == 1_000
    for _ in range(4_000):
        found.succeeded()
    assert sum(found.pause(1, 0.0) < 500 for _ in range(50)) == RESERVE, "what is saved is bounded"
