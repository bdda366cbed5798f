"""Which of several devices has a name that they share, in the state database: after a restart it
must not be whoever speaks first.

A name that was forgotten is the next one's that asks for it.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files

from gateway.io.sqlite.database import Database, statements

_SQL = statements((files(__package__) / "names.sql").read_text())
_MOST = 40_000  # of all sources
Place = tuple[str, str, str]
"""(source, kind, name)."""


class Names:
    """See the module."""

    def __init__(self, database: Database) -> None:
        self._owners: dict[Place, str] = {}
        self._unsaved: set[Place] = set()
        for *place, owner in database.load(lambda c: c.execute(_SQL["all"]).fetchall()):
            self._owners[place[0], place[1], place[2]] = owner

    def owner(self, place: Place) -> str | None:
        """Who has a name; None where nobody has."""
        return self._owners.get(place)

    def claim(self, place: Place, owner: str) -> None:
        """Whose a name is from now on; saved with the devices. Nothing where there is no room."""
        if place in self._owners or len(self._owners) < _MOST:
            self._owners[place] = owner
            self._unsaved.add(place)

    def again(self) -> None:
        """Save everything once more, for a file that is new."""
        self._unsaved.update(self._owners)

    def changed(self) -> Mapping[Place, str]:
        """What is to be saved."""
        return {place: self._owners[place] for place in self._unsaved}

    def saved(self, changed: Mapping[Place, str]) -> None:
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


def save(connection: sqlite3.Connection, changed: Mapping[Place, str]) -> None:
    """Write what `changed` gave. Raises sqlite3.Error."""
    connection.executemany(_SQL["save"], [(*place, owner) for place, owner in changed.items()])


def without(connection: sqlite3.Connection, names: Iterable[tuple[str, str]]) -> None:
    """Take out what is stored of these names (source, name). Raises sqlite3.Error."""
    connection.executemany(_SQL["forget"], list(names))


class SourceNames:
    """See gateway.core.contracts.Names; of one source. find: the id of a device of it."""

    def __init__(self, names: Names, source: str, find: Callable[[str, str], str | None]) -> None:
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
