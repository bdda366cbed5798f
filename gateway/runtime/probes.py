"""What each part of the gateway loses health points for."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.bus.journal import Journal
from gateway.bus.subscription import Subscription
from gateway.core.words import about, lasting
from gateway.io.sqlite.database import Database
from gateway.runtime import meanwhile
from gateway.runtime.alerting import Alerting
from gateway.runtime.delivery import Delivery
from gateway.runtime.intake import Intake
from gateway.stages.health import Deduction, Flow, Limits, Probe, Rules, over
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import Devices
from gateway.store.history import History

_ENOUGH = 50  # frames before a share of them says anything
_MINUTE = 60.0


def source(intake: Intake, rules: Rules) -> Probe:
    """A configured source: connection, bad frames, what flows, its ledger."""
    since, flow, part = [0.0], Flow(), f"stage/intake-{intake.device.name}"

    def probe() -> Sequence[Deduction] | None:
        ledger, limits = intake.balance, rules.of(part)
        down = down_for(bool(intake.failing) or intake.stopped, since)
        flow.look(ledger.received, time.monotonic())
        found = []
        if intake.stopped:
            text = intake.failing or "stopped"
            doing = meanwhile.of_source(intake)
            found.append(Deduction("availability", "stopped", "running", 80, text, doing))
        elif down:
            doing = meanwhile.of_source(intake)
            found += over(limits, "availability", down, intake.failing, doing)
        else:
            text = f"{flow.share:.0f} % of what usually comes"
            found += over(limits, "throughput", flow.share, text)
        if concern := intake.concern:
            found.append(Deduction("concern", 1, 0, 40, concern))
        if not ledger.received:
            return found or ([] if intake.last or not intake.failing else None)
        share = 100.0 * ledger.dead_lettered / ledger.received
        if ledger.received >= _ENOUGH:
            text = f"{share:.1f} % cannot be decoded"
            doing = meanwhile.of_bad_frames(intake.device.name)
            found += over(limits, "error_rate", share, text, doing)
        found += difference(ledger.difference)
        return found

    return probe


def bridge(delivery: Delivery, rules: Rules) -> Probe:
    """A bridge: whether it gets through, how far it is behind, its ledger."""
    since, part = [0.0], f"bridge/{delivery.name}"

    def probe() -> Sequence[Deduction] | None:
        limits, retry, health = rules.of(part), delivery.retry, delivery.health
        paused, doing = delivery.state == "paused", meanwhile.of_bridge(delivery)
        why = retry.failing or delivery.pool.unanswered
        down = down_for(bool(why) and not paused, since)
        found = []
        if paused:
            found.append(Deduction("paused", 1, 0, 10, "paused", doing))
        elif retry.denied:
            found.append(Deduction("access", "denied", "granted", 80, retry.failing, doing))
        elif down:
            found += over(limits, "availability", down, why, doing)
        share = health.failing
        found += over(limits, "failed_attempts", share, f"{share:.0f} % of its writes fail")
        text = f"a write takes {health.seconds:.1f} s"
        found += over(limits, "response_time", health.seconds, text)
        age = delivery.oldest()
        found += over(limits, "lag", age, f"oldest reading waits {lasting(age)}", doing)
        if delivery.subscription is not None:
            found += _owed(delivery.subscription, delivery.pending, limits, bool(down))
        return found

    return probe


def _owed(subscription: Subscription, pending: int, limits: Limits, down: bool) -> list[Deduction]:
    """Its ledger, and what the journal will not keep for it."""
    ledger = subscription.ledger
    found = difference(ledger.difference(pending)) + _queue(subscription, limits, down)
    for reason, cost, text in (
        ("damaged", 10, "readings lost to damage of the journal"),
        ("retention", 30, "readings dropped by retention"),
    ):
        if lost := ledger.dropped[reason]:
            metric = "damaged" if reason == "damaged" else "dropped"
            found.append(Deduction(metric, lost, 0, cost, f"{lost} {text}"))
    return found


def _queue(subscription: Subscription, limits: Limits, down: bool) -> list[Deduction]:
    """Said before retention drops anything, while there is time to do something."""
    left = subscription.drops_in
    if not subscription.endangered and not (down and left is not None):
        return []
    text = f"queue full {about(left) if left is not None else 'soon'}: drops readings then"
    found = over(limits, "queue_full", left, text) if left is not None else []
    if found or not subscription.endangered:
        return found
    return [Deduction("queue_full", round(left or 0), "a quarter left", 30, text)]


def difference(unexplained: int) -> list[Deduction]:
    """The ledger must explain everything."""
    if not unexplained:
        return []
    return [Deduction("ledger", unexplained, 0, 60, f"{unexplained} records unexplained")]


class Commits:
    """How long commits of the journal take: the longest of the last minute."""

    def __init__(self) -> None:
        self._worst, self._at = 0.0, 0.0

    def took(self, records: int, seconds: float) -> None:
        """One of them."""
        if seconds >= self.worst:
            self._worst, self._at = seconds, time.monotonic()

    @property
    def worst(self) -> float:
        """See the class (s)."""
        return self._worst if time.monotonic() - self._at < _MINUTE else 0.0


def journal(log: Journal, rules: Rules, commits: Commits) -> Probe:
    """The journal: whether the disk takes data, how fast, and what waits for it."""

    def probe() -> Sequence[Deduction]:
        if log.trouble:
            text = f"disk refuses: {log.trouble}"
            return [Deduction("disk", log.trouble, "writable", 80, text, meanwhile.DISK)]
        limits = rules.of("stage/journal")
        text = f"{log.backlog} readings wait to commit"
        found = over(limits, "backlog", log.backlog, text)
        text = f"a commit took {commits.worst:.1f} s"
        found += over(limits, "commit_time", commits.worst, text)
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
            doing = meanwhile.WRITES_LATER
            found.append(Deduction("disk", store.failing, "writable", 40, text, doing))
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
            text, doing = f"not written: {trouble}", meanwhile.TRIES
            found.append(Deduction("disk", trouble, "writable", 60, text, doing))
        if dead_letters.dropped:
            text = f"{dead_letters.dropped} dead letters had to go for newer ones"
            found.append(Deduction("dead_letters_dropped", dead_letters.dropped, 0, 10, text))
        return found

    return probe


def alerts(alerting: Alerting) -> Probe:
    """Alerts: whether people can be told, and whether what they are told can be kept."""

    def probe() -> Sequence[Deduction]:
        found = []
        if alerting.trouble:
            text, doing = f"not written: {alerting.trouble}", meanwhile.TRIES
            found.append(Deduction("disk", alerting.trouble, "writable", 40, text, doing))
        for each in alerting.channels():
            if each["last_error"]:
                waiting = f"; {each['waiting']} wait" if each["waiting"] else ""
                text = f"channel {each['name']} takes nothing: {each['last_error']}{waiting}"
                found.append(Deduction("channel", each["name"], "ok", 40, text, meanwhile.TRIES))
        return found

    return probe


def replaced(database: Database) -> list[Deduction]:
    """A damaged file was set aside: a person should know, and look at the disk."""
    if not database.set_aside:
        return []
    last = database.set_aside[-1]
    text = f"{last.file} was damaged: {last.saved} rows saved, {last.lost} lost; see {last.kept_as}"
    return [Deduction("set_aside", len(database.set_aside), 0, 30, text)]


def broker(
    connected: Callable[[], bool], rules: Rules, state: Callable[[], Mapping[str, Any]] = dict
) -> Probe:
    """The broker: whether we are connected to it, what it threw away lately (state:
    dropped_recently), and listeners that it could not have (state: listeners)."""
    since = [0.0]

    def probe() -> Sequence[Deduction]:
        found, told = [], state()
        down = down_for(not connected(), since)
        if down:
            limits = rules.of("stage/broker")
            found += over(limits, "availability", down, "not connected", meanwhile.CONNECTS)
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


def down_for(down: bool, since: list[float]) -> float:
    """How long something has been down (s); `since` is kept between calls."""
    if not down:
        since[0] = 0.0
        return 0.0
    since[0] = since[0] or time.monotonic()
    return time.monotonic() - since[0]
