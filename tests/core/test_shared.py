"""Sets that many have in common."""

from gateway.core import shared
from gateway.core.shared import Shared


def test_the_same_set_is_one_object() -> None:
    sets = Shared[str]()
    a, b = sets.joined(frozenset(), "x", "y"), sets.joined(sets.joined(frozenset(), "y"), "x")
    assert a == {"x", "y"}
    assert a is b


def test_who_makes_up_many_fills_no_memory() -> None:
    sets = Shared[int]()
    first = sets.joined(frozenset(), 0)
    for number in range(2 * shared._MOST):
        assert sets.joined(frozenset(), number) == {number}
    assert len(sets._known) == shared._MOST
    assert sets.joined(frozenset(), 0) is first
