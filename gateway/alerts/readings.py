"""Rules that look at readings as they come: found once for each device, then one look-up each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.alerts.changing import Change
from gateway.alerts.rules import Rule
from gateway.bus.live import Item
from gateway.core.contracts import Flag, Reading, Value
from gateway.core.events import Event
from gateway.store.devices import Devices

Observe = Callable[[Rule, str, Value | None], bool]
"""What a source says now, for one rule; whether there is an alert of it, or may be one soon."""
Absent = Callable[[Rule, str, bool], None]
"""Whether a source has been absent for too long, for one rule."""

_HISTORICAL = Flag.HISTORICAL.value  # an int: arithmetic of flags takes a microsecond
_WILD = frozenset("*?[!")


@dataclass(slots=True)
class Watch:
    """One rule on one device. heard: when its metric last came (monotonic). low, high: between
    them a number is no alert. calm: there was none when it was last looked at. change: follows the
    metric, where the rule looks at how much it has changed."""

    rule: Rule
    heard: float
    low: float = float("inf")
    high: float = float("-inf")
    calm: bool = False
    change: Change | None = None


@dataclass(slots=True)
class Watches:
    """All rules on one device. metrics: by the metric they look at; silence: on absence."""

    metrics: dict[str, list[Watch]]
    silence: list[Watch]


class ReadingRules:
    """See the module. absent_before: whether an alert of this rule and device was active when the
    gateway stopped: a restart is no reading."""

    def __init__(
        self,
        rules: Sequence[Rule],
        devices: Devices,
        observe: Observe,
        absent: Absent,
        absent_before: Callable[[Rule, str], bool],
    ) -> None:
        self.rules = [rule for rule in rules if rule.settings.device]
        self._devices = devices
        self._observe = observe
        self._absent = absent
        self._absent_before = absent_before
        self._known: dict[str, Watches | None] = {}
        self._began = time.monotonic()

    def wants(self, item: Item) -> bool:
        """Whether any rule looks at one of these readings. On the way of every reading: a look-up
        each."""
        if isinstance(item, Event):
            return False
        known = self._known
        for reading in item:
            device = reading.device
            if (known[device] if device in known else self._find(device)) is not None:
                return True
        return False

    def take(self, readings: Sequence[Reading]) -> None:
        """Look at these. What is replayed says nothing of now."""
        now = time.monotonic()
        for reading in readings:
            device = reading.device
            watches = self._known[device] if device in self._known else self._find(device)
            if watches is None or reading.flags & _HISTORICAL:
                continue
            for metric, those in watches.metrics.items():
                if metric in reading.values:
                    value = reading.values[metric]
                    for watch in those:
                        self._take(watch, device, reading.time, value, now)

    def _take(self, watch: Watch, device: str, moment: int, value: Value, now: float) -> None:
        watch.heard = now
        rule = watch.rule
        if rule.settings.absent is not None:
            self._absent(rule, device, False)
            return
        followed = value if watch.change is None else watch.change.follow(moment, value)
        # Nearly every reading ends here, for the price of two comparisons.
        if watch.calm and type(followed) is float and watch.low <= followed <= watch.high:
            return
        watch.calm = not self._observe(rule, device, followed)

    def look(self) -> None:
        """Look for what is absent; once a second."""
        now = time.monotonic()
        named = [rule for rule in self.rules if rule.settings.absent is not None]
        if not named:
            return
        ids = {device.id for device in self._devices.list()}
        for rule in named:
            ids.update(each for each in rule.settings.device if not _WILD & set(each))
        for device in ids:
            watches = self._known[device] if device in self._known else self._find(device)
            for watch in watches.silence if watches else ():
                limit = watch.rule.settings.absent
                assert limit is not None, "it is there for that"
                self._absent(watch.rule, device, self._silent(watch, device, now) > limit)

    def _silent(self, watch: Watch, device: str, now: float) -> float:
        if watch.rule.settings.metric is not None:
            return now - watch.heard
        try:
            silent = self._devices.get(device).silent
        except LookupError:
            silent = None
        return now - self._began if silent is None else silent

    def _find(self, device: str) -> Watches | None:
        """The rules that look at a device, from now on."""
        metrics: dict[str, list[Watch]] = {}
        silence: list[Watch] = []
        for rule in self.rules:
            if not rule.fits(device):
                continue
            away = rule.settings.absent is not None and self._absent_before(rule, device)
            watch = Watch(rule, float("-inf") if away else time.monotonic(), *rule.calm)
            if rule.settings.change is not None:
                watch.change = Change(rule.settings.change)
            if rule.settings.metric is not None:
                metrics.setdefault(rule.settings.metric, []).append(watch)
            if rule.settings.absent is not None:
                silence.append(watch)
        found = Watches(metrics, silence) if metrics or silence else None
        self._known[device] = found
        return found
