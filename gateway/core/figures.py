"""Figures of the gateway's own parts, for rules to look at."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.core.contracts import Value


class Figure(NamedTuple):
    """A value and what is behind it, for people."""

    value: Value
    why: str = ""


Figures = Callable[[], Mapping[str, Mapping[str, Figure]]]
"""By part (bridge/home), by name. What is not known at the moment is left out."""
