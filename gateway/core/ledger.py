"""The ledger: what came in equals what became of it. Counted at different places on purpose.

Each number is counted where the thing happens and none is computed from the others, so that
`difference` is zero only if nothing was lost or counted twice. Sources count frames (MQTT
messages, CoAP requests, polls); bridges count readings.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class SourceLedger:
    """received = journalled + repeated + dead_lettered + dropped + in_flight (frames).

    received: counted by the driver's pump as a burst arrives. in_flight: frames between arrival
    and the end of their commit. retained messages seed state and are counted apart.
    """

    received: int = 0
    journalled: int = 0
    repeated: int = 0
    dead_lettered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    retained: int = 0

    @property
    def difference(self) -> int:
        """Frames nobody can explain; anything but 0 is a bug and is shown as one."""
        explained = self.journalled + self.repeated + self.dead_lettered + self.in_flight
        return self.received - explained - sum(self.dropped.values())

    def as_dict(self) -> dict[str, Any]:
        """For status and the API."""
        return {
            "received": self.received,
            "journalled": self.journalled,
            "repeated": self.repeated,
            "dead_lettered": self.dead_lettered,
            "dropped": dict(self.dropped),
            "in_flight": self.in_flight,
            "retained": self.retained,
            "difference": self.difference,
        }


@dataclass(slots=True)
class BridgeLedger:
    """matched = delivered + pending + dead_lettered + dropped (readings).

    matched: counted as readings enter the journal. pending: given by the subscription (fetched
    and unfinished, plus not yet fetched). replayed is counted apart.
    """

    matched: int = 0
    fetched: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    replayed: int = 0

    def difference(self, pending: int) -> int:
        """Readings nobody can explain, given what is `pending`."""
        explained = self.delivered + pending + self.dead_lettered
        return self.matched - explained - sum(self.dropped.values())

    def as_dict(self, pending: int) -> dict[str, Any]:
        """For status and the API."""
        return {
            "matched": self.matched,
            "delivered": self.delivered,
            "pending": pending,
            "dead_lettered": self.dead_lettered,
            "dropped": dict(self.dropped),
            "replayed": self.replayed,
            "difference": self.difference(pending),
        }
