"""What each part of the gateway loses health points for."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from gateway.bus.journal import Journal
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Detailed
from gateway.core.words import about
from gateway.io.sqlite import Database
from gateway.runtime.clock import Clock
from gateway.runtime.delivery import Delivery
from gateway.runtime.intake import Intake
from gateway.stages.health import Deduction, Probe, above
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import Device, Devices
from gateway.store.history import History

_GRACE = 10.0  # a source or sink that comes back within this was never news (s)
_SILENT = 60.0  # no device is called silent earlier (s)
_ENOUGH = 50  # frames before a share of them says anything
_MISSED = 5.0  # a device is late after so many of its own intervals


def source(intake: Intake) -> Probe:
    """A configured source: connection, bad frames, its ledger."""
    since = [0.0]

    def probe() -> Sequence[Deduction] | None:
        ledger = intake.balance
        down = down_for(bool(intake.failing) or intake.stopped, since)
        found = []
        if down > _GRACE or intake.stopped:
            found.append(
                Deduction("availability", round(down), _GRACE, 80, intake.failing or "stopped")
            )
        if isinstance(intake.device, Detailed) and intake.device.concern:
            found.append(Deduction("concern", 1, 0, 40, intake.device.concern))
        if not ledger.received:
            return found or ([] if intake.last or not intake.failing else None)
        share = 100.0 * ledger.dead_lettered / ledger.received
        if ledger.received >= _ENOUGH:
            text = f"{share:.1f} % cannot be decoded"
            found += above("error_rate", round(share, 2), 1.0, 10.0, text)
        found += difference(ledger.difference)
        return found

    return probe


def bridge(delivery: Delivery) -> Probe:
    """A bridge: whether it gets through, how far it is behind, its ledger."""
    since = [0.0]

    def probe() -> Sequence[Deduction] | None:
        down = down_for(bool(delivery.retry.failing), since)
        found = []
        if delivery.retry.denied:
            found.append(Deduction("access", "denied", "granted", 80, delivery.retry.failing))
        elif down > _GRACE:
            found.append(Deduction("availability", round(down), _GRACE, 60, delivery.retry.failing))
        age = delivery.oldest()
        found += above("lag", round(age), 60.0, 600.0, f"oldest reading waits {age:.0f} s", 15)
        if delivery.subscription is not None:
            ledger = delivery.subscription.ledger
            found += difference(ledger.difference(delivery.pending))
            found += _endangered(delivery.subscription)
            if ledger.dropped["damaged"]:
                lost = ledger.dropped["damaged"]
                text = f"{lost} readings lost to damage of the journal"
                found.append(Deduction("damaged", lost, 0, 10, text))
            if ledger.dropped["retention"]:
                dropped = ledger.dropped["retention"]
                text = f"{dropped} readings dropped by retention"
                found.append(Deduction("dropped", dropped, 0, 30, text))
        return found

    return probe


def _endangered(subscription: Subscription) -> list[Deduction]:
    """Said before retention drops anything, while there is time to do something."""
    if not subscription.endangered:
        return []
    left = subscription.drops_in
    text = f"drops readings {about(left) if left is not None else 'soon'} unless it gets through"
    return [Deduction("retention", round(left or 0), "a quarter left", 30, text)]


def difference(unexplained: int) -> list[Deduction]:
    """The ledger must explain everything."""
    if not unexplained:
        return []
    return [Deduction("ledger", unexplained, 0, 60, f"{unexplained} records unexplained")]


def journal(log: Journal) -> Probe:
    """The journal: whether the disk takes data, and what waits for it."""

    def probe() -> Sequence[Deduction]:
        if log.trouble:
            return [Deduction("disk", log.trouble, "writable", 80, f"disk refuses: {log.trouble}")]
        found = above(
            "backlog", log.backlog, 5_000, 10_000, f"{log.backlog} readings wait to commit"
        )
        limit = log.options.max_size
        if log.quota < limit:
            text = f"the disk has room for {log.quota / 1e6:.0f} MB of {limit / 1e6:.0f}"
            found.append(Deduction("quota", log.quota, limit, 10, text))
        if log.damage:
            first = next(iter(log.damage.values()))
            text = f"{len(log.damage)} places damaged, first {first.path.name}: {first.reason}"
            found.append(Deduction("damage", len(log.damage), 0, 10, text))
        return found

    return probe


def history(store: History) -> Probe:
    """History: whether it can be written, and what of it is damaged."""

    def probe() -> Sequence[Deduction]:
        found = replaced(store.database)
        if store.failing:
            text = f"not written: {store.failing}"
            found.append(Deduction("disk", store.failing, "writable", 40, text))
        if store.damaged:
            count = len(store.damaged)
            text = f"{count} damaged chunks are left out of answers"
            found.append(Deduction("damaged", count, 0, 15, text))
        return found

    return probe


def state(devices: Devices, dead_letters: DeadLetters) -> Probe:
    """Devices and dead letters: whether they can be written."""

    def probe() -> Sequence[Deduction]:
        found = replaced(devices.database)
        trouble = devices.trouble or dead_letters.trouble
        if trouble:
            found.append(Deduction("disk", trouble, "writable", 60, f"not written: {trouble}"))
        if dead_letters.dropped:
            text = f"{dead_letters.dropped} dead letters had to go for newer ones"
            found.append(Deduction("dead_letters_dropped", dead_letters.dropped, 0, 10, text))
        return found

    return probe


def replaced(database: Database) -> list[Deduction]:
    """A damaged file was set aside: a person should know, and look at the disk."""
    if not database.set_aside:
        return []
    last = database.set_aside[-1]
    text = f"{last.file} was damaged: {last.saved} rows saved, {last.lost} lost; see {last.kept_as}"
    return [Deduction("set_aside", len(database.set_aside), 0, 30, text)]


def machine(clock: Clock, directory: str) -> Probe:
    """This machine: memory, disk, temperature, clock."""

    def probe() -> Sequence[Deduction]:
        memory = psutil.virtual_memory().percent
        found = above("memory", memory, 90, 97, f"memory {memory:.0f} % used", 20)
        disk = psutil.disk_usage(directory).percent
        found += above("disk", disk, 90, 97, f"disk {disk:.0f} % used", 20)
        hottest = _hottest()
        if hottest is not None:
            found += above("temperature", hottest, 75, 82, f"{hottest:.0f} °C", 20)
        if not clock.synced:
            found.append(Deduction("clock", "unset", "set", 20, "the clock is not set"))
        elif clock.source == "boottime":
            text = "the clock jumped to where it cannot be; times go on from where it was"
            found.append(Deduction("clock", "jumped", "set", 20, text))
        return found

    return probe


def broker(connected: Callable[[], bool], state: Callable[[], Mapping[str, Any]] = dict) -> Probe:
    """The broker: whether we are connected to it, what it threw away lately (state:
    dropped_recently), and listeners that it could not have (state: listeners)."""
    since = [0.0]

    def probe() -> Sequence[Deduction]:
        found, told = [], state()
        down = down_for(not connected(), since)
        if down > _GRACE:
            found.append(Deduction("availability", round(down), _GRACE, 80, "not connected"))
        if dropped := told.get("dropped_recently"):
            text = f"it threw {dropped} messages away: a client's queue is full"
            found.append(Deduction("dropped", dropped, 0, 30, text))
        for each in told.get("listeners", ()):
            if each["trouble"]:
                where = f"{each['host']}:{each['port']}"
                text = f"does not listen on {where}: {each['trouble']}"
                found.append(Deduction("listener", where, "open", 20, text))
        return found

    return probe


@dataclass(slots=True)
class Silence:
    """The probe of a device: silent for longer than its own rhythm allows. No closure: there are
    thousands of them."""

    device: Device
    devices: Devices

    def __call__(self) -> Sequence[Deduction] | None:
        """See gateway.stages.health.Probe."""
        age = self.device.silent
        if age is None:
            return None
        limit = max(_SILENT, _MISSED * self.device.interval)
        if not self.device.count:  # since the start: when it spoke last was saved so long ago
            limit += self.devices.every
        if age <= limit:
            return []
        cost = 40 if age <= 5 * limit else 80
        text = f"no message for {age:.0f} s (limit {limit:.0f} s)"
        return [Deduction("staleness", round(age), round(limit), cost, text)]


def down_for(down: bool, since: list[float]) -> float:
    """How long something has been down (s); `since` is kept between calls."""
    if not down:
        since[0] = 0.0
        return 0.0
    since[0] = since[0] or time.monotonic()
    return time.monotonic() - since[0]


def _hottest() -> float | None:
    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    current = [entry.current for entries in sensors.values() for entry in entries]
    return max(current, default=None)
