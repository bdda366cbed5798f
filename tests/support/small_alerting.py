"""One alert, one channel: something for the faces to show."""

from collections.abc import Mapping
from typing import Any

from gateway.core.errors import Conflict, Unavailable

SINCE = 1_795_212_000_000


class SmallAlerting:
    """Satisfies gateway.runtime.alerting.Alerting."""

    def __init__(self) -> None:
        self.acknowledged = ""
        self.silences_: dict[int, dict[str, Any]] = {}

    def alerts(self, state: str = "active") -> list[dict[str, Any]]:
        """The one there is."""
        return [self._alert()] if state in ("active", "all", "firing") else []

    def _alert(self) -> dict[str, Any]:
        return {
            "id": 7,
            "rule": "battery-low",
            "source": "soil-4",
            "severity": "critical",
            "state": "acknowledged" if self.acknowledged else "firing",
            "since": SINCE,
            "fired": SINCE,
            "ended": None,
            "value": 14.0,
            "limit": "20",
            "message": "soil-4: battery is 14, below 20\x1b[2J",
            "labels": {},
            "count": 2,
            "acknowledged": SINCE if self.acknowledged else None,
            "acknowledged_by": self.acknowledged or None,
            "silenced_until": None,
            "told": ["phone"],
        }

    def counts(self) -> list[dict[str, Any]]:
        """The one there is."""
        states = dict.fromkeys(("pending", "firing", "acknowledged", "silenced"), 0)
        states[self._alert()["state"]] = 1
        which = {"rule": "battery-low", "severity": "critical"}
        return [{**which, "state": state, "count": count} for state, count in states.items()]

    def fired(self) -> Mapping[str, int]:
        """Twice."""
        return {"battery-low": 2}

    def channels(self) -> list[dict[str, Any]]:
        """The one there is."""
        return [
            {
                "name": "phone", "service": "ntfys", "state": "failing", "last_error": "no route",
                "waiting": 1, "sent": 3, "failed": 5, "given_up": 2,
            }
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """As in the status."""
        return {"active": 1, "critical": 1, "warning": 0, "info": 0, "channels": self.channels()}

    def silences(self) -> list[dict[str, Any]]:
        """Those that were made."""
        return list(self.silences_.values())

    async def acknowledge(self, number: int, by: str) -> dict[str, Any]:
        """Only alert 7 is there; 8 is over."""
        if number == 8:
            raise Conflict("alert 8 is resolved; it needs nobody")
        if number != 7:
            raise LookupError(f"no alert {number}")
        self.acknowledged = by or "somebody"
        return self._alert()

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
        """Make one."""
        if end <= start:
            raise Conflict("it would be over already", fix="a later end")
        number = len(self.silences_) + 1
        self.silences_[number] = {
            "id": number, "rule": rule, "source": source, "labels": dict(labels), "by": by,
            "start": start // 1_000_000, "end": end // 1_000_000, "comment": comment,
        }  # fmt: skip
        return self.silences_[number]

    async def end_silence(self, number: int) -> dict[str, Any]:
        """End one."""
        if number not in self.silences_:
            raise LookupError(f"no silence {number}")
        return self.silences_.pop(number)

    async def test(self, channel: str) -> dict[str, Any]:
        """phone works, pager does not."""
        if channel == "pager":
            raise Unavailable("pagerduty: no answer within 15 s")
        if channel not in ("phone", "mqtt"):
            raise LookupError(f'no channel "{channel}"; there are phone, pager, mqtt')
        return {"channel": channel, "took": 0.2}
