"""Every part's health, and the whole's.

The whole is half the weighted mean of its parts and half the worst of them, so that one failed part
among many is seen; devices count as one part, by their mean.

Parts of the gateway are few and looked at each second. Devices are many: each says until when
nothing can get worse, and is not looked at before, unless it is not well or not known.
"""

import heapq
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from gateway.stages.health.component import Component, Probe
from gateway.stages.health.levels import Level
from gateway.stages.health.rules import Deduction, Rules
from gateway.stages.health.timetable import Timetable

DEVICES = "device"
"""What the devices together are called among the parts."""
EVERY = 1.0
"""How often everything is looked at (s)."""
_MINUTE = 60.0
_FRESH = 5.0  # a state that was looked at longer ago is not fresh any more (s)
_SOON = 90.0  # what is due by then is left so: asking when it would be costs as much as looking (s)
_STEP = 10  # a device's score that changes by less is told with its next repeat
_WORST = 20


@runtime_checkable
class DeviceProbe(Protocol):
    """What looks at one device, and says when it is worth while."""

    def __call__(self) -> Sequence[Deduction] | None:
        """See Probe."""
        ...

    def due(self) -> float:
        """Until when nothing changes (s, monotonic), unless `stirred`."""
        ...

    def stirred(self) -> bool:
        """Whether it has been heard since it was looked at."""
        ...


class _EachTime:
    """A probe that says nothing about when to look: looked at whenever anything is."""

    __slots__ = ("_probe",)

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def __call__(self) -> Sequence[Deduction] | None:
        return self._probe()

    def due(self) -> float:
        return 0.0

    def stirred(self) -> bool:
        return True


class Health:
    """Every part's health. rules: what it goes by. devices: parts of kind `device` that are
    devices, by id; components: all others, by `<kind>/<name>`. whole: the gateway's own. late: how
    much later than a second `evaluate` came at worst in the last minute (s)."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.components: dict[str, Component] = {}
        self.devices: dict[str, Component] = {}
        self.whole = Component("gateway", "gateway", lambda: None)
        self._due = Timetable()
        self._restless: dict[str, DeviceProbe] = {}  # devices that are not well, or not known
        self._unwell: dict[str, Component] = {}
        self._levels: Counter[Level] = Counter()
        self._scores = 0  # of devices that are known
        self.late = 0.0
        self._late_at = 0.0
        self._looked = 0.0
        self._seconds = self._seen = 0.0

    def register(self, kind: str, name: str, probe: Probe) -> None:
        """Watch a part of the gateway."""
        self.components[f"{kind}/{name}"] = Component(kind, name, probe)

    def forget(self, kind: str, name: str) -> None:
        """A part of the gateway is no more."""
        self.components.pop(f"{kind}/{name}", None)

    def watch(self, device: str, probe: DeviceProbe | Probe) -> None:
        """Watch a device."""
        looking = probe if isinstance(probe, DeviceProbe) else _EachTime(probe)
        self.devices[device] = Component("device", device, looking)
        self._restless[device] = looking
        self._levels[Level.UNKNOWN] += 1
        self._due.put(device, 0.0)

    def hurry(self, device: str) -> None:
        """Look at a device with the next `evaluate`, whenever it would be due."""
        if device in self.devices:
            self._due.put(device, 0.0)

    def leave(self, device: str) -> None:
        """A device is no more, or none that is to be watched."""
        part = self.devices.pop(device, None)
        if part is None:
            return
        self._restless.pop(device, None)
        self._unwell.pop(device, None)
        self._levels[part.level] -= 1
        self._scores -= part.score
        self._due.drop(device)

    def evaluate(self) -> list[Component]:
        """Look at every part, and at the devices whose time has come; those that changed."""
        now = time.monotonic()
        self._count(now)
        changed = [part for part in self.components.values() if part.evaluate(self.rules)]
        changed += [part for part in self._stirred() if self.look(part)]
        for device in [self.devices[name] for name in self._due.come(now)]:
            if self.look(device):
                changed.append(device)
            self._due.put(device.name, self._next(device, now))
        self.whole.take(self.score() if self._known() else None, self.rules)
        return changed

    def _stirred(self) -> list[Component]:
        names = [name for name, probe in self._restless.items() if probe.stirred()]
        return [self.devices[name] for name in names]

    def _next(self, part: Component, now: float) -> float:
        """When to look at a device again, at the latest."""
        probe: DeviceProbe = part.probe  # type: ignore[assignment]
        return min(probe.due(), now + EVERY) if part.grade.moving else probe.due()

    def look(self, part: Component) -> bool:
        """Look at one device; whether it changed enough to be told at once."""
        level, score, name = part.level, part.score, part.name
        changed = part.evaluate(self.rules, _STEP)
        if level is not part.level:
            self._levels[level] -= 1
            self._levels[part.level] += 1
        self._scores += part.score - score
        if part.reasons:
            self._unwell[name] = part
        else:
            self._unwell.pop(name, None)
        if part.level is Level.UNKNOWN or part.reasons:
            self._restless[name] = part.probe  # type: ignore[assignment]
        else:
            self._restless.pop(name, None)
            self._bring_forward(part)
        return changed

    def _bring_forward(self, part: Component) -> None:
        """What is allowed to a device becomes less once its rhythm is known."""
        known = self._due.of(part.name)
        if known - time.monotonic() > _SOON:
            due = part.probe.due()  # type: ignore[attr-defined]
            if due < known:
                self._due.put(part.name, due)

    # -- the whole ---------------------------------------------------------------------------

    def score(self) -> int:
        """The whole's score; see the module."""
        weight = self.rules.weight
        known = [
            (part.score, weight(name))
            for name, part in self.components.items()
            if part.level is not Level.UNKNOWN
        ]
        heard = len(self.devices) - self._levels[Level.UNKNOWN]
        if heard:
            known.append((round(self._scores / heard), weight(DEVICES)))
        total = sum(own for _, own in known)
        if not total:
            return 100 if known else 0
        mean = sum(score * own for score, own in known) / total
        worst = min(100 - (100 - score) * min(own, 1.0) for score, own in known)
        return round(mean / 2 + worst / 2)

    def _known(self) -> bool:
        parts = any(part.level is not Level.UNKNOWN for part in self.components.values())
        return parts or self._levels[Level.UNKNOWN] < len(self.devices)

    def reasons(self) -> list[dict[str, Any]]:
        """What the parts of the gateway lose points for, the worst part first."""
        return [
            {"component": part.path, **reason.as_dict()}
            for part in sorted(self.components.values(), key=lambda part: part.score)
            for reason in part.reasons
        ]

    def levels(self) -> dict[str, int]:
        """How many devices have each level."""
        return {level.value: count for level, count in self._levels.items() if count}

    def summary(self) -> dict[str, Any]:
        """The contract's summary of the whole."""
        worst = heapq.nsmallest(_WORST, self._unwell.values(), key=lambda part: part.score)
        return {
            "time": time.time_ns() // 1_000_000,
            "level": self.whole.level.value,
            "score": self.whole.score,
            "trend": self.whole.trend,
            "visibility": self.visibility,
            "reasons": self.reasons(),
            "components": {
                name: {"level": part.level.value, "score": part.score}
                for name, part in self.components.items()
            },
            "devices": self.levels(),
            "worst": [
                {
                    "device": part.name,
                    "level": part.level.value,
                    "score": part.score,
                    "reasons": [reason.as_dict() for reason in part.reasons],
                }
                for part in worst
            ],
        }

    # -- visibility --------------------------------------------------------------------------

    @property
    def visibility(self) -> float:
        """The share of component-seconds since the start in which the component's state was known
        and not older than 5 s. Devices that were never heard of are no components yet."""
        return round(self._seen / self._seconds, 6) if self._seconds else 1.0

    def _count(self, now: float) -> None:
        """What has passed since the last look: with the states that were found then."""
        elapsed, self._looked = now - self._looked, now
        if not self.whole.evaluated:
            return
        late = max(elapsed - EVERY, 0.0)
        if late >= self.late or now - self._late_at > _MINUTE:
            self.late, self._late_at = late, now
        heard = len(self.devices) - self._levels[Level.UNKNOWN]
        states = Counter(part.level is not Level.UNKNOWN for part in self.components.values())
        self._seconds += elapsed * (states.total() + heard)
        self._seen += min(elapsed, _FRESH) * (states[True] + heard)
