"""Alerts at work: what is seen becomes alerts, alerts become messages, messages are sent."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.alerts.alert import Alert
from gateway.alerts.announcing import Announcing, Publisher
from gateway.alerts.channels import AppriseChannel
from gateway.alerts.counts import counts
from gateway.alerts.defaults import rules_of
from gateway.alerts.engine import Engine
from gateway.alerts.looking import Looking
from gateway.alerts.outbox import Outbox
from gateway.alerts.parts import PartRules
from gateway.alerts.readings import ReadingRules
from gateway.alerts.routing import Router
from gateway.alerts.rules import Rule
from gateway.alerts.silences import MOST, Silence, Silences
from gateway.alerts.store import PATIENCE, Store
from gateway.alerts.wording import Notification
from gateway.bus.bus import Bus
from gateway.config.alerting import MQTT, AlertsSettings
from gateway.core.contracts import Reading
from gateway.core.errors import Conflict, Unavailable
from gateway.core.figures import Figures
from gateway.core.topics import Topics
from gateway.io.blocking import Blocking
from gateway.io.polling import second
from gateway.io.sqlite.database import Database
from gateway.stages.health import Health
from gateway.store.devices import Devices

log = logging.getLogger(__name__)

_LOGGED = 10  # alerts of one tick that the log tells one by one


class Alerts:
    """See the module. trouble: why nothing can be stored at the moment, or "". failed: how often
    something of this went wrong that should not."""

    def __init__(
        self,
        settings: AlertsSettings,
        topics: Topics,
        database: Database,
        devices: Devices,
        health: Health,
        figures: Figures,
        publisher: Callable[[], Publisher],
    ) -> None:
        self.trouble = ""
        self.failed = 0
        self._store = Store(database)
        self._generation = database.generation
        rules = [Rule(rule, topics.gateway) for rule in rules_of(settings)]
        self._engine = Engine(rules, self._changed)
        self._silences = Silences(settings.maintenance)
        waits = {rule.name: rule.settings.group_wait for rule in rules}
        dirty = self._engine.dirty
        self._router = Router(settings, topics.gateway, self._silences, waits, dirty.add)
        self._announcing = Announcing(publisher, topics)
        engine = self._engine
        self._readings = ReadingRules(rules, devices, engine.observe, engine.absent, engine.fires)
        self._looking = Looking(self._readings, self._take)
        self._parts = PartRules(rules, health, figures, engine.observe, engine.gone)
        threads = Blocking("alerts")
        channels = [(AppriseChannel(each, threads), each) for each in settings.channels]
        self._outbox = Outbox(channels, self._store.sent)
        self._next = 1  # a notification's id
        self._waiting: list[Notification] = []  # stored by an earlier run
        self._decided: list[Notification] = []
        self._news: list[Alert] = []  # not logged yet
        self._loaded = asyncio.Event()

    # -- at work ------------------------------------------------------------------------------

    async def run(self, bus: Bus) -> None:
        """Until cancelled; what is known by then is stored."""
        stored = await asyncio.to_thread(self._read)
        self._engine.load(stored[0])
        self._silences.load(stored[1])
        self._waiting = stored[2]
        self._next = max((each.id for each in self._waiting), default=0) + 1
        self._loaded.set()
        self._announcing.begin(self._engine.all())
        for alert in self._engine.all():
            self._router.note(alert)  # what was decided of it may not have been stored
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outbox.run())
                group.create_task(self._tick())
                if self._readings.rules:
                    self._looking.begin(bus, stored[3])
                    group.create_task(self._looking.run(bus))
                elif stored[3] is not None:
                    group.create_task(self._unseen())
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._save([], last=True)

    def _read(self) -> tuple[list[Alert], list[Silence], list[Notification], int | None]:
        try:
            store = self._store
            return store.alerts(), store.silences(), store.notifications(), store.seen()
        except (sqlite3.Error, OSError) as error:
            self._failing(str(error))
            return [], [], [], None

    def _take(self, readings: Sequence[Reading]) -> None:
        self._safely(partial(self._readings.take, readings))

    async def _unseen(self) -> None:
        with suppress(sqlite3.Error, OSError):
            await self._store.unseen()

    async def _tick(self) -> None:
        await self._forget(self._outbox.put(self._waiting))
        while True:
            self._safely(self._parts.look)
            self._safely(self._readings.look)
            self._safely(lambda: self._announcing.refresh(self._engine.active()))
            await self._end_silences()
            self._safely(self._engine.tick)
            self._safely(self._decide)
            self._looking.look()
            self._log()
            await self._store_then_send()
            await second()

    def _decide(self) -> None:
        for each in self._router.decide(self._engine.active()):
            each.id, self._next = self._next, self._next + 1
            self._decided.append(each)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # The edge: a rule that meets what nobody thought of must not end the gateway.
            self.failed += 1
            if self.failed < 10:
                log.exception("alerts: something of this failed")

    async def _store_then_send(self) -> None:
        decided, self._decided = self._decided, []
        try:
            async with asyncio.timeout(PATIENCE):
                await self._save(decided)
        except TimeoutError:
            self._failing("the disk is slow")
        # A disk that refuses must not keep the alert from going out that says so.
        self._outbox.put(decided)

    async def _save(self, decided: Sequence[Notification], last: bool = False) -> None:
        engine, looking = self._engine, self._looking
        if self._store.database.generation != self._generation:  # a new, empty file
            self._generation = self._store.database.generation
            engine.dirty.update(engine.all())
        due = looking.moved if last else looking.due
        if not (engine.dirty or engine.over or decided or due):
            return
        seen = looking.seen
        dirty, over = list(engine.dirty), list(engine.over)
        engine.dirty.clear()
        engine.over.clear()
        try:
            await self._store.save(dirty, over, decided, seen)
        except BaseException as error:
            engine.dirty.update(dirty)
            engine.over.update(over)
            if not isinstance(error, sqlite3.Error | OSError):
                raise
            self._failing(str(error))
        else:
            looking.noted(seen)
            if self.trouble:
                log.warning("alerts: stored again")
            self.trouble = ""

    def _failing(self, why: str) -> None:
        if not self.trouble:
            log.error("alerts: cannot be stored: %s; they are sent all the same", why)
        self.trouble = why

    async def _forget(self, numbers: Sequence[int]) -> None:
        """Messages to channels that are there no more."""
        if not numbers:
            return
        log.warning("alerts: %d messages to channels that are no more are let go", len(numbers))
        with suppress(sqlite3.Error, OSError):
            await self._store.sent(numbers)

    async def _end_silences(self) -> None:
        ended = [silence.id for silence in self._silences.ended()]
        for number in ended:
            self._silences.remove(number)
        if ended:
            with suppress(sqlite3.Error, OSError):  # ended by its time all the same
                await self._store.end_silences(ended)

    def _changed(self, alert: Alert) -> None:
        self._announcing.tell(alert)
        self._router.note(alert)
        self._news.append(alert)

    def _log(self) -> None:
        """What has changed; of many, the first ones."""
        for alert in self._news[:_LOGGED]:
            level = logging.WARNING if alert.active and not alert.acknowledged else logging.INFO
            log.log(level, "alert %s: %s: %s", alert.shown(False).value, alert.rule, alert.message)
        if len(self._news) > _LOGGED:
            log.warning("… and %d more alerts", len(self._news) - _LOGGED)
        self._news.clear()

    # -- what people see and do ---------------------------------------------------------------

    def alerts(self, state: str = "active") -> list[dict[str, Any]]:
        """Those that are `active`, in one state, or `all`; the newest first."""
        found = []
        for alert in self._engine.all():
            until = self._silences.until(alert) if alert.active else None
            shown = alert.shown(until is not None)
            if state == "all" or shown.value == state or (state == "active" and alert.active):
                found.append(alert.as_dict(until))
        return found

    def channels(self) -> list[dict[str, Any]]:
        """Who can be told, and how that goes. Never their addresses."""
        return [lane.as_dict() for lane in self._outbox.lanes.values()]

    def counts(self) -> list[dict[str, Any]]:
        """How many are not over, by rule, state and severity."""
        return counts(self._engine, self._silences)

    def fired(self) -> Mapping[str, int]:
        """How often each rule's alerts have fired since the start."""
        return self._engine.fired

    def summary(self) -> dict[str, Any]:
        """For the status."""
        active = self._engine.active()
        counts = dict.fromkeys(("critical", "warning", "info"), 0)
        for alert in active:
            counts[alert.severity] += 1
        return {
            "active": len(active),
            **counts,
            "unacknowledged": sum(not alert.acknowledged for alert in active),
            "channels": self.channels(),
            "trouble": self.trouble or None,
            "refused": self._engine.refused,
            "dropped": self._looking.dropped,
            "failed": self.failed,
        }

    def vanished(self, device: str) -> None:
        """A device was forgotten: its alerts end."""
        self._engine.vanished(device)
        self._engine.vanished(f"device/{device}")

    async def acknowledge(self, number: int, by: str) -> dict[str, Any]:
        """Somebody takes care of it. Raises LookupError, Conflict."""
        await self._loaded.wait()
        alert = self._engine.get(number)
        if not alert.active:
            raise Conflict(f"alert {number} is {alert.state.value}; it needs nobody")
        if not alert.acknowledged:
            self._engine.acknowledge(alert, by)
            await self._store_then_send()
        return alert.as_dict(self._silences.until(alert))

    async def silence(
        self,
        rule: str,
        source: str,
        labels: Mapping[str, str],
        start: int,
        end: int,
        by: str,
        comment: str,
    ) -> dict[str, Any]:
        """Tell nobody of these from start to end (ns). Raises Conflict, and
        Unavailable where it cannot be stored."""
        await self._loaded.wait()
        if end <= max(start, time.time_ns()):
            raise Conflict("it would be over already", fix="a later end")
        if len(self._silences.all()) >= MOST:
            raise Conflict(f"there are {MOST} silences", fix="end some of them")
        number = self._silences.number()
        silence = Silence(number, rule, source, start, end, dict(labels), by, comment)
        self._silences.add(silence)
        try:
            await self._store.add_silence(silence)
        except BaseException as error:
            self._silences.remove(number)
            if isinstance(error, sqlite3.Error | OSError):
                raise _not_stored(error) from error
            raise
        return silence.as_dict()

    def silences(self) -> list[dict[str, Any]]:
        """Those that have not ended."""
        return [silence.as_dict() for silence in self._silences.all()]

    async def end_silence(self, number: int) -> dict[str, Any]:
        """Tell people again. Raises LookupError, Unavailable."""
        await self._loaded.wait()
        silence = self._silences.get(number)
        try:
            await self._store.end_silences([number])
        except (sqlite3.Error, OSError) as error:
            raise _not_stored(error) from error
        self._silences.remove(number)
        return silence.as_dict()

    async def test(self, channel: str) -> dict[str, Any]:
        """Send a test through a channel, at once. Raises LookupError, Unavailable, Denied."""
        began = time.monotonic()
        if channel == MQTT:
            self._announcing.test()
        else:
            lane = self._outbox.lanes.get(channel)
            if lane is None:
                known = ", ".join([*self._outbox.lanes, MQTT])
                raise LookupError(f'no channel "{channel}"; there are {known}')
            title = "Berrygate: a test"
            await lane.channel.send(title, "Alerts of this gateway arrive here.", "info")
        return {"channel": channel, "took": round(time.monotonic() - began, 3)}


def _not_stored(error: Exception) -> Unavailable:
    fix = "see that the disk has room: berrygate doctor"
    return Unavailable(f"the disk does not take it: {error}", fix=fix)
