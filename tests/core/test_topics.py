"""Topic filters: what one of them covers of another, which then need not be subscribed to."""

import pytest

from gateway.core.topics import covers, uncovered


@pytest.mark.parametrize(
    ("pattern", "other", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/+", True),
        ("a/+", "a/#", False),
        ("a/#", "a/+/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("#", "#", True),
        ("+/#", "#", False),
        ("+/b", "a/+", False),
        ("a/b", "a/+", False),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
    ],
)
def test_covers(pattern: str, other: str, expected: bool) -> None:
    assert covers(pattern, other) is expected


def test_what_another_brings_is_left_out() -> None:
    assert uncovered(["a/b", "a/+", "c", "a/+", "d/#", "d/e/f"]) == ("a/+", "c", "d/#")
    assert uncovered(["tele/+/+", "homie/#", "a/b"], by=["a/#", "homie/x"]) == (
        "tele/+/+",
        "homie/#",
    )
    assert uncovered(["a/b"], by=["#"]) == ()
    assert uncovered(["a/b", "c"], by=["a/b"]) == ("c",)
