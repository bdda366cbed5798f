"""What one client is subscribed to, also in a session that an earlier configuration left behind."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.io.mqtt.beside import Beside

log = logging.getLogger(__name__)

_PACKET = 200  # topics in one packet


def _parted(topics: Sequence[str]) -> list[Sequence[str]]:
    return [topics[start : start + _PACKET] for start in range(0, len(topics), _PACKET)]


class Subscriptions:
    """See the module. filters: as they are subscribed to, `$share/…` and all. memory: the file
    that remembers what was last subscribed to, and in which session (session: client id and
    broker). Without it a filter that was taken out of the configuration would go on for as long
    as the session lives. beside: topics that are subscribed to besides, once somebody announced
    them; None: there are none, ever. optional: filters that the broker may refuse."""

    def __init__(
        self,
        filters: Sequence[str],
        qos: int,
        version_5: bool,
        memory: Path,
        session: str,
        beside: Beside | None = None,
        optional: Sequence[str] = (),
    ) -> None:
        self.filters = tuple(filters)
        self._optional = frozenset(optional)
        self.beside = beside
        self._qos = qos
        self._version_5 = version_5
        self._memory = memory
        self._session = session

    def begin(self, client: Client) -> None:
        """On each connect, for the broker may have forgotten everything."""
        before = self._remembered()
        if self.beside is not None:
            self.beside.begin(each for each in before if each not in self.filters)
        wanted = self._all
        gone = [each for each in before if each not in wanted]
        if gone:
            log.info("mqtt: no longer subscribed to %s", ", ".join(gone))
            client.unsubscribe(gone)
        self._remember(sorted({*before, *wanted}))
        self._subscribe(client, self.filters, 0)
        self._subscribe_beside(client, 0)

    def again(self, client: Client) -> None:
        """Subscribe once more; what is retained is not sent again where MQTT can say that."""
        self._subscribe(client, self.filters, 2)
        self._subscribe_beside(client, 2)

    def look(self, client: Client) -> None:
        """Between reads: subscribe to what is wanted besides by now, and no longer to what is
        not."""
        if self.beside is None:
            return
        come, gone = self.beside.changes()
        if come or gone:
            self._remember(sorted({*self._all, *gone}))
            for some in _parted(come):
                self.beside.asked.add(self._subscribe(client, some, 0))
            for some in _parted(gone):
                client.unsubscribe(list(some))
            self._remember(sorted(self._all))

    def answered(self, packet_id: int, reasons: Sequence[Any]) -> bool:
        """An answer came to a subscription; True if it was to one of topics besides."""
        if self.beside is None or packet_id not in self.beside.asked:
            return False
        self.beside.asked.discard(packet_id)
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            log.warning("mqtt: %d announced topics were refused: %s", len(refused), refused[0])
        return True

    @property
    def _all(self) -> set[str]:
        return {*self.filters, *(self.beside.topics if self.beside is not None else ())}

    def _subscribe_beside(self, client: Client, retained: int) -> None:
        if self.beside is not None:
            for some in _parted(sorted(self.beside.topics)):
                self.beside.asked.add(self._subscribe(client, some, retained))

    def also(self, client: Client, topic: str) -> int | None:
        """Subscribe to a topic of our own; the packet's id."""
        return self._subscribe(client, [topic], 2)

    def _subscribe(self, client: Client, filters: Sequence[str], retained: int) -> int | None:
        if self._version_5:
            options = SubscribeOptions(
                qos=self._qos, retainAsPublished=False, retainHandling=retained
            )
            return client.subscribe([(each, options) for each in filters])[1]
        return client.subscribe([(each, self._qos) for each in filters])[1]

    def refused(self, reasons: Sequence[Any]) -> list[str]:
        """Filters that the broker said no to, each with why; without those that it may refuse."""
        pairs = zip(self.filters, reasons, strict=False)
        said = {topic: f"{topic}: {reason}" for topic, reason in pairs if reason.is_failure}
        spared = [text for topic, text in said.items() if topic in self._optional]
        if spared:
            log.warning("mqtt: not discovered, for the broker refuses it: %s", ", ".join(spared))
        return [text for topic, text in said.items() if topic not in self._optional]

    def accepted(self) -> None:
        """The broker took them, and what was unsubscribed before is gone."""
        self._remember(sorted(self._all))

    def _remembered(self) -> list[str]:
        try:
            found = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return []
        mine = isinstance(found, dict) and found.get("session") == self._session
        filters = found.get("filters") if mine else None
        return [each for each in filters if isinstance(each, str) and each] if filters else []

    def _remember(self, filters: list[str]) -> None:
        content = json.dumps({"session": self._session, "filters": filters}, indent=1) + "\n"
        try:
            if self._memory.exists() and self._memory.read_text() == content:
                return
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            new = self._memory.with_suffix(".new")
            new.write_text(content)
            new.replace(self._memory)
        except (OSError, ValueError) as error:  # at worst an old filter stays for a while
            log.warning("mqtt: cannot note what is subscribed to, %s: %s", self._memory, error)
