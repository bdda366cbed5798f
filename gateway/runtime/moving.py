"""Which parts of the gateway could get on at this moment, and where they stand: for the watchdog.

A part that waits for a good reason is not named: nothing comes in, a sink or the broker is away,
the disk refuses, a bridge is paused, the clock is not set.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.runtime.announce import Announcer
from gateway.runtime.house import House
from gateway.runtime.intake import BACKLOG
from gateway.runtime.watchdog import Watchdog


def watch_pipeline(watchdog: Watchdog, house: House, announcer: Callable[[], Announcer]) -> None:
    """Have every part watched, also those that come later."""
    watchdog.watch("the journal's writer", house.bus.journal.stuck_for)
    for store in house.stores:
        watchdog.watch(f"{store.path.name}'s writer", store.stuck_for)
    for owed in (_history, _sources, _bridges):
        watchdog.watch_owed(partial(owed, house))
    watchdog.watch_owed(lambda: _announcements(announcer()))


def status_line(house: House) -> str:
    """One line for `systemctl status`."""
    ready, reasons = house.ready()
    away = [f"{name} {d.state}" for name, d in house.deliveries.items() if d.state != "running"]
    parts = ["ready" if ready else ", ".join(reasons), f"{len(house.devices_.list())} devices"]
    return "; ".join([*parts, *away])


def _history(house: House) -> Mapping[str, Any]:
    """It takes what is committed, unless its disk refuses."""
    if house.history.failing:
        return {}
    reached = max(house.history.reached, house.bus.journal.start)
    return {"history": reached} if reached < house.bus.head else {}


def _sources(house: House) -> Mapping[str, Any]:
    """One that has a burst in hand may wait for room in the journal, or for a disk that refuses."""
    journal = house.bus.journal
    refused = journal.trouble or house.dead_letters.trouble or house.devices_.trouble
    if refused or journal.backlog >= BACKLOG:
        return {}
    taking = {name: intake for name, intake in house.intakes.items() if intake.taking}
    return {f"device {name}": intake.ledger.received for name, intake in taking.items()}


def _bridges(house: House) -> Mapping[str, Any]:
    """A lane that asks for readings while there are some."""
    return {
        f"bridge {name}/{lane.number}": lane.fetched
        for name, delivery in house.deliveries.items()
        for lane in (delivery.subscription.lanes if delivery.subscription else ())
        if lane.asking and lane.fetched < house.bus.head
    }


def _announcements(announcer: Announcer) -> Mapping[str, Any]:
    """Messages wait, and the broker would take them."""
    return {"announcements": announcer.handed} if announcer.holding else {}
