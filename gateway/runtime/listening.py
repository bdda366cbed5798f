"""What a device loses points for: it is silent, or sends more than it may."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.core.words import lasting
from gateway.stages.health import EVERY, Deduction, Rules, over
from gateway.store.devices import Device

_ENOUGH = 50  # messages before a share of them says anything
_AGAIN = 5.0  # a device that is silent is looked at so often (s)
_BLINK = 2.0  # for so long an adapter may be away, as when it is plugged in again (s)
_NEVER = 1e9  # a device that was never heard of is looked at when it is (s)


@dataclass(frozen=True, slots=True)
class Around:
    """What all devices have in common. saved: how often what is known of them is saved (s).
    failing: why nothing comes from a source, or "": nobody can know then whether its devices are
    gone, and they are given their time again once it is back. gone: whether a device said itself,
    or its last will, that it is gone."""

    rules: Rules
    saved: Callable[[], float]
    failing: Callable[[str], str] = lambda source: ""
    gone: Callable[[Device], bool] = lambda device: False


class Listening:
    """The probe of a device: silent for longer than its own rhythm allows. No closure: there are
    thousands of them."""

    __slots__ = ("_around", "_blind", "_device", "_heard", "_over", "_told")

    def __init__(self, device: Device, around: Around) -> None:
        self._device = device
        self._around = around
        self._heard = device.heard
        self._blind = -_NEVER  # when its source was last seen failing (s, monotonic)
        self._told = (device.count, device.refused)
        self._over = 0.0  # messages over its rate, lately (%)

    def __call__(self) -> Sequence[Deduction] | None:
        """See gateway.stages.health.Probe."""
        device = self._device
        self._heard = device.heard
        age = device.silent
        if age is None:
            return None
        if trouble := self._around.failing(device.source):
            self._blind = time.monotonic()
        if device.refused:
            self._weigh()
        if self._around.gone(device):
            return self._left(age)
        limit = self._limit()
        if age < limit and not self._over:
            # Before it is heard after a start nobody knows: it may have been gone for long.
            return () if device.count else None
        return self._lost(age, limit, trouble)

    def _left(self, age: float) -> list[Deduction]:
        """It is gone by its own word, however long its rhythm lets it be silent."""
        limits = self._around.rules.of(f"device/{self._device.id}")
        worst = limits["staleness"].critical if "staleness" in limits else 0.0
        found = over(limits, "staleness", worst, "it said, or its last will did, that it is gone")
        return [replace(each, value=round(age), limit=0) for each in found]

    def _lost(self, age: float, limit: float, trouble: str) -> list[Deduction]:
        limits = self._around.rules.of(f"device/{self._device.id}")
        seen = min(age, time.monotonic() - self._blind)
        times = max(seen / limit, 1.0) if age >= limit else 0.0
        text = f"no message for {lasting(age)}; its rhythm allows {lasting(limit)}"
        text += f"; nothing comes from {self._device.source}: {trouble}" if trouble else ""
        # As the age itself, which says more to people than how many times the limit it is.
        found = [
            replace(each, value=round(age), limit=round(limit))
            for each in over(limits, "staleness", times, text)
        ]
        text = f"{self._over:.0f} % of its messages are over its rate"
        return found + over(limits, "refused", self._over, text)

    def _weigh(self) -> None:
        """Over what came since the last time; the time before counts until that is enough."""
        count, refused = self._told
        came, over_rate = self._device.count - count, self._device.refused - refused
        if came + over_rate >= _ENOUGH:
            self._over = 100.0 * over_rate / (came + over_rate)
            self._told = self._device.count, self._device.refused

    def due(self) -> float:
        """When it would be silent (s, monotonic); once it is, how long it has been matters less."""
        age = self._device.silent
        left = self._limit() - age if age is not None else _NEVER
        return time.monotonic() + (max(left, EVERY) if left > 0 else _AGAIN)

    def stirred(self) -> bool:
        """Whether it has been heard since it was looked at."""
        return self._device.heard != self._heard

    @property
    def trouble(self) -> str:
        """Why nothing comes from its source, or ""."""
        return self._around.failing(self._device.source)

    def _limit(self) -> float:
        rule, device = self._around.rules.silence, self._device
        limit = max(rule.at_least, device.silent_after(rule.missed, rule.unknown))
        if not device.count:  # since the start: when it spoke last was saved so long ago
            return max(limit, rule.unknown) + self._around.saved()
        return limit


class Attached:
    """The probe of a device that is itself a source, at the end of a wire of ours: gone as soon as
    that is, however long its rhythm lets it be silent."""

    def __init__(self, device: Device, around: Around) -> None:
        self._listening = Listening(device, around)
        self._device = device
        self._around = around
        self._gone = 0.0  # since when (s, monotonic); 0: it is there

    def __call__(self) -> Sequence[Deduction] | None:
        """See gateway.stages.health.Probe."""
        found, trouble = self._listening(), self._listening.trouble
        if not trouble:
            self._gone = 0.0
            return found
        now = time.monotonic()
        self._gone = self._gone or now
        if now - self._gone < _BLINK:
            return found
        limits = self._around.rules.of(f"device/{self._device.id}")
        worst = limits["staleness"].critical if "staleness" in limits else 0.0
        gone = over(limits, "staleness", worst, f"it is not there: {trouble}")
        others = [each for each in found or () if each.metric != "staleness"]
        age = round(now - self._gone)
        return [*others, *(replace(each, value=age, limit=_BLINK) for each in gone)]

    def due(self) -> float:
        """A wire may be pulled at any time."""
        return time.monotonic() + EVERY

    def stirred(self) -> bool:
        """See gateway.stages.health.DeviceProbe."""
        return self._listening.stirred()
