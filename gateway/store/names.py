"""Which of several devices has a name that they share, in the state database: after a restart it
must not be whoever speaks first.

A name that was forgotten is the next one's that asks for it, and so is one under which no device
has become known: anybody can make up topics.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files

from gateway.io.sqlite.database import Database, statements
from gateway.store.checksums import checksum, is_whole

log = logging.getLogger(__name__)

_SQL = statements((files(__package__) / "names.sql").read_text())
_MOST = 40_000  # of all sources
_AGAIN = 10.0  # until it is looked through again where it is full (s)
Find = Callable[[str, str], str | None]
"""The id of a device by its original name and its source; None where there is none."""
Place = tuple[str, str, str]
"""(source, kind, name)."""


class Names:
    """See the module. find: the devices that are known by now."""

    def __init__(self, database: Database, find: Find) -> None:
        self._owners: dict[Place, str] = {}
        self._unsaved: set[Place] = set()
        self._find = find
        self._looked = -_AGAIN
        for row in database.load(lambda c: c.execute(_SQL["all"]).fetchall()):
            if is_whole(row):  # else a device would come under another's name
                source, kind, name, owner, _ = row
                self._owners[source, kind, name] = owner
        self._prune()

    def owner(self, place: Place) -> str | None:
        """Who has a name; None where nobody has."""
        return self._owners.get(place)

    def claim(self, place: Place, owner: str) -> None:
        """Whose a name is from now on; saved with the devices. Nothing where there is no room."""
        if len(self._owners) >= _MOST and time.monotonic() - self._looked >= _AGAIN:
            self._looked = time.monotonic()
            self._prune()
            if len(self._owners) >= _MOST:
                log.warning("more than %d names of devices: new ones are not told apart", _MOST)
        if place in self._owners or len(self._owners) < _MOST:
            self._owners[place] = owner
            self._unsaved.add(place)

    def _prune(self) -> None:
        """Let go the names under which no device is known."""
        idle = [place for place in self._owners if self._find(place[2], place[0]) is None]
        for place in idle:
            del self._owners[place]
        self._unsaved.update(idle)

    def again(self) -> None:
        """Save everything once more, for a file that is new."""
        self._unsaved.update(self._owners)

    def changed(self) -> Mapping[Place, str | None]:
        """What is to be saved; None: nobody has the name any more."""
        return {place: self._owners.get(place) for place in self._unsaved}

    def saved(self, changed: Mapping[Place, str | None]) -> None:
        """That has been saved."""
        self._unsaved -= {place for place in changed if self._owners.get(place) == changed[place]}

    def leave(self, names: Iterable[tuple[str, str]]) -> Mapping[Place, str]:
        """Nobody has these names (source, name) any more; who had them."""
        gone = {}
        for source, name in names:
            for place in ((source, kind, name) for kind in ("key", "family")):
                if place in self._owners:
                    gone[place] = self._owners.pop(place)
                    self._unsaved.discard(place)
        return gone

    def back(self, gone: Mapping[Place, str]) -> None:
        """They have them after all."""
        for place, owner in gone.items():
            self.claim(place, owner)


def save(connection: sqlite3.Connection, changed: Mapping[Place, str | None]) -> None:
    """Write what `changed` gave. Raises sqlite3.Error."""
    rows = [(*place, owner) for place, owner in changed.items() if owner is not None]
    connection.executemany(_SQL["save"], [(*row, checksum(*row)) for row in rows])
    connection.executemany(_SQL["delete"], [p for p, owner in changed.items() if owner is None])


def without(connection: sqlite3.Connection, names: Iterable[tuple[str, str]]) -> None:
    """Take out what is stored of these names (source, name). Raises sqlite3.Error."""
    connection.executemany(_SQL["forget"], list(names))


class SourceNames:
    """See gateway.core.contracts.Names; of one source."""

    def __init__(self, names: Names, source: str, find: Find) -> None:
        self._names = names
        self._source = source
        self._find = find

    def owner(self, kind: str, name: str) -> str | None:
        """See Names."""
        return self._names.owner((self._source, kind, name))

    def claim(self, kind: str, name: str, owner: str) -> None:
        """See Names."""
        self._names.claim((self._source, kind, name), owner)

    def is_known(self, original: str) -> bool:
        """See Names."""
        return self._find(original, self._source) is not None
