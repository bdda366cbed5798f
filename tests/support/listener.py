"""A device's health as a test will have it."""

import time
from collections.abc import Sequence

from gateway.stages.health import Deduction


class Listener:
    """Satisfies gateway.stages.health.DeviceProbe. looked: how often; heard: set to have it looked
    at; later: how long it is well (s)."""

    def __init__(self, found: Sequence[Deduction] | None) -> None:
        self.found = found
        self.looked = 0
        self.heard = False
        self.later = 1000.0

    def __call__(self) -> Sequence[Deduction] | None:
        self.looked += 1
        self.heard = False
        return self.found

    def due(self) -> float:
        return time.monotonic() + self.later

    def stirred(self) -> bool:
        return self.heard
