"""Active alerts on MQTT: one retained message for each, cleared when it is over."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from gateway.alerts.alert import Alert
from gateway.core.topics import Topics

_REFRESH = 30.0  # how often a value that changes is told again (s)
_RECENT = 600.0  # what ended this shortly before a start may not have been cleared (s)


class Publisher(Protocol):
    """What this needs of the announcer, which publishes again on every connect."""

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        """Publish as JSON; never blocks, never raises."""
        ...

    def clear(self, topic: str) -> None:
        """Take back what was retained."""
        ...


class Announcing:
    """publisher: the one there is now; another one knows nothing of what was published."""

    def __init__(self, publisher: Callable[[], Publisher], topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics
        self._last: Publisher | None = None
        self._told: dict[str, Any] = {}
        self._refreshed = 0.0

    def begin(self, alerts: Iterable[Alert]) -> None:
        """After a start: what fires is told, what has just ended is cleared."""
        now = time.time_ns()
        for alert in alerts:
            if alert.active:
                self.tell(alert)
            elif now - alert.ended < _RECENT * 1e9:
                self._publisher().clear(self._topic(alert))

    def tell(self, alert: Alert) -> None:
        """An alert has changed."""
        topic = self._topic(alert)
        if not alert.active:
            self._told.pop(topic, None)
            self._publisher().clear(topic)  # an earlier run may have published it
            return
        payload = alert.announced()
        if self._told.get(topic) != payload:
            self._told[topic] = payload
            self._publisher().publish(topic, payload, qos=1, retain=True)

    def refresh(self, active: Iterable[Alert]) -> None:
        """Once a second: everything where the publisher is another one, else values now and
        then."""
        publisher, now = self._publisher(), time.monotonic()
        if publisher is not self._last:
            self._last, self._told = publisher, {}
        elif now - self._refreshed < _REFRESH:
            return
        self._refreshed = now
        for alert in active:
            self.tell(alert)

    def test(self) -> None:
        """A message that nobody can take for an alert."""
        message = {"level": "info", "message": "a test: alerts arrive here", "since": None}
        more = {"value": None, "count": 0, "acknowledged": False}
        place, rule = "gateway", "test"
        self._publisher().publish(self._topics("alert", place, rule), {**message, **more})

    def _topic(self, alert: Alert) -> str:
        return self._topics("alert", alert.place, alert.rule)
