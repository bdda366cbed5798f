"""All that one screen of the whole gateway shows, in one answer whose size does not grow with the
number of devices: who asks each second must cost little also where there are 10,000 of them."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.core.contracts import boottime
from gateway.stages.health import Component, Health, Level
from gateway.store.devices import Device

if TYPE_CHECKING:
    from gateway.runtime.house import House

_WINDOW = 10.0  # a device's rate is over so long, as far as somebody has been asking (s)
_SHORTEST = 0.5  # over less than this a rate says nothing (s)
_APART = 2.0  # counts are remembered so far apart (s)
_MOST_REASONS = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_RANKS = {level: rank for rank, level in enumerate((*reversed(list(Level)[:-1]), Level.UNKNOWN))}

Looks = deque[tuple[float, list[int]]]
"""When somebody looked (s, monotonic), and how many readings each device had sent by then."""

Key = Callable[[Device], Any]


def overview(
    house: "House", looks: Looks, sort: str, text: str, limit: int, offset: int
) -> dict[str, Any]:
    """Health, stages, sources, bridges, journal, the process; and `limit` devices from `offset` on
    of those whose id holds `text`, by `sort`. looks: what earlier calls saw; kept up to date."""
    health, journal = house.health_, house.bus.journal
    ready, reasons = house.ready()
    return {
        "time": time.time_ns() // 1_000_000,
        "at": time.monotonic(),
        "id": house.topics.gateway,
        "version": __version__,
        "uptime": round((boottime() - house.started) / 1e9, 1),
        "ready": ready,
        "reasons": reasons,
        "health": _health(health),
        **house.profiler.summary(),
        "sources": house.sources(),
        "bridges": house.bridges(),
        "broker": {"dropped": house.broker().get("dropped")},
        "dead_letters_dropped": house.dead_letters.dropped,
        "journal": {
            "appended": journal.appended,
            "bytes": journal.stored,
            "quota": journal.quota,
            "backlog": journal.backlog,
            "trouble": journal.trouble or None,
        },
        "process": _process(),
        "devices": _devices(house.devices_.list(), health, looks, sort, text, limit, offset),
    }


def _process() -> dict[str, Any]:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    return {
        "pid": os.getpid(),
        "cpu": time.process_time(),
        "rss": resident,
        "written": _written(),
    }


def _written() -> int | None:
    """Bytes this process has caused to be written to disks; proc_pid_io(5)."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    found = dict(line.split(": ", 1) for line in lines)
    return int(found["write_bytes"]) if "write_bytes" in found else None


def _health(health: Health) -> dict[str, Any]:
    whole = health.whole
    return {
        "level": whole.level.value,
        "score": whole.score,
        "trend": whole.trend,
        "reasons": health.reasons()[:_MOST_REASONS],
    }


def _devices(
    devices: Sequence[Device],
    health: Health,
    looks: Looks,
    sort: str,
    text: str,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    rates = _rates(devices, looks)
    places = [place for place, device in enumerate(devices) if text in device.id]
    if sort == "rate":
        if rates:
            places.sort(key=rates.__getitem__, reverse=True)
    else:
        key = _key(sort, health)
        places.sort(key=lambda place: key(devices[place]))
    return {
        "count": len(devices),
        "matching": len(places),
        "levels": health.levels(),
        "rows": [
            _row(devices[place], rates[place] if rates else None, health)
            for place in places[offset : offset + limit]
        ],
    }


def _key(sort: str, health: Health) -> Key:
    """What comes first: the longest silent, the worst, the one with most readings, or `a`."""
    parts = health.devices
    known: dict[str, Key] = {
        "seen": lambda d: (d.count > 0, d.heard if d.count else d.last_seen),
        "state": lambda d: _rank(parts.get(d.id)),
        "readings": lambda d: -d.readings,
        "id": attrgetter("id"),
    }
    return known[sort]


def _rank(part: Component | None) -> tuple[int, int]:
    return (_RANKS[part.level], part.score) if part is not None else (_RANKS[Level.UNKNOWN], 0)


def _rates(devices: Sequence[Device], looks: Looks) -> list[float]:
    """Readings a second of each device since the oldest look that is not too old; none at first.
    Devices are never taken out of the registry, so that places stay what they are."""
    now, counts = time.monotonic(), [device.count for device in devices]
    while looks and now - looks[0][0] > _WINDOW:
        looks.popleft()
    if len(looks) < 2 or looks[-1][0] - looks[-2][0] >= _APART:
        looks.append((now, counts))
    else:
        looks[-1] = (now, counts)
    since, before = looks[0]
    span = now - since
    if span < _SHORTEST:
        return []
    return [(count - old) / span for count, old in zip_longest(counts, before, fillvalue=0)]


def _row(device: Device, rate: float | None, health: Health) -> dict[str, Any]:
    part, silent = health.devices.get(device.id), device.silent
    reasons = part.reasons if part is not None else ()
    unheard = None
    if part is not None and not device.count:
        unheard = "not heard since the gateway was started"
    return {
        "id": device.id,
        "source": device.source,
        "level": part.level.value if part is not None else Level.UNKNOWN.value,
        "score": part.score if part is not None else 0,
        "why": reasons[0].text if reasons else unheard,
        "rate": None if rate is None else round(rate, 3),
        "silent": None if silent is None else round(silent, 1),
        "interval": round(device.interval, 3) or None,
        "readings": device.readings,
        "refused": device.refused,
    }
