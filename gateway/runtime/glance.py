"""What the gateway says of itself at a glance."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.core.contracts import Detailed, boottime

if TYPE_CHECKING:
    from gateway.runtime.house import House


def status(house: "House") -> dict[str, Any]:
    """Everything at a glance."""
    ready, reasons = house.ready()
    health = house.health_.summary()
    up = boottime() - house.started  # the wall clock may have been set since
    return {
        "id": house.topics.gateway,
        "version": __version__,
        "state": "online",
        "since": house.clock.at(house.started) // 1_000_000,
        "uptime": round(up / 1e9, 1),
        "ready": ready,
        "reasons": reasons,
        "clock": house.clock.as_dict(),
        "health": health,
        "journal": _journal(house),
        "ledger": ledger(house),
        "devices": {"count": len(house.devices_.list()), "levels": health["devices"]},
        "sources": sources(house),
        "bridges": house.bridges(),
        "commands": dict(house.commanding.counts) if house.commanding else {},
        "broker": house.broker(),
        "limits": limits(house),
        "dead_letters": house.dead_letters.totals(),
        "alerts": house.alerting.summary() if house.alerting else None,
        "config": house.reloading.status() if house.reloading else None,
        "dead_letters_dropped": house.dead_letters.dropped,
        "history": {
            "failing": house.history.failing or None,
            "damaged_chunks": len(house.history.damaged),
        },
        "set_aside": [aside.as_dict() for store in house.stores for aside in store.set_aside],
    }


def _journal(house: "House") -> dict[str, Any]:
    journal = house.bus.journal
    return {
        "bytes": journal.stored,
        "written": journal.appended,
        "first": journal.start,
        "next": journal.next,
        "segments": len(journal.segments),
        "backlog": journal.backlog,
        "trouble": journal.trouble or None,
        "quota": journal.quota,
        "max_size": journal.options.max_size,
        "damage": [damage.as_dict() for damage in list(journal.damage.values())],
        "history_behind": max(house.bus.head - house.history.reached, 0),
    }


def limits(house: "House") -> dict[str, Any]:
    """Each limit: how much of it is used where that can be told, and how many frames were
    refused because of it since the start. For `series`: the device that has most."""
    devices = house.devices_.list()
    used = {
        "devices": len(devices),
        "series": max((len(device.metrics) for device in devices), default=0),
        "total_series": house.devices_.admission.series,
    }
    refused = sum((i.refusals.counts for i in house.intakes.values()), Counter[str]())
    return {
        name: {"used": used.get(name), "limit": limit, "refused": refused[name]}
        for name, limit in house.limits_.items()
    }


def ledger(house: "House") -> dict[str, Any]:
    """What came in and what became of it."""
    return {
        "sources": {name: intake.balance.as_dict() for name, intake in house.intakes.items()},
        "bridges": {
            name: delivery.subscription.ledger.as_dict(delivery.pending)
            for name, delivery in house.deliveries.items()
            if delivery.subscription is not None
        },
        "broker": {"dropped": house.broker().get("dropped")},
    }


def sources(house: "House") -> list[dict[str, Any]]:
    """The configured sources."""
    return [
        {
            "name": name,
            "state": "stopped" if i.stopped else "failing" if i.failing else "running",
            "last": i.last // 1_000_000 or None,
            "last_error": i.failing or None,
            **i.balance.as_dict(),
            **(i.device.details() if isinstance(i.device, Detailed) else {}),
        }
        for name, i in house.intakes.items()
    ]
