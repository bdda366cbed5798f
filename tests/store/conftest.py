from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.io.sqlite.database import Database
from gateway.store.devices import RESCUE


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Opens the state database, again after it was closed; closes it at the end."""
    made: list[Database] = []

    def make() -> Database:
        migrations = files("gateway.store") / "migrations" / "state"
        made.append(Database(tmp_path / "state.db", migrations, RESCUE))
        return made[-1]

    yield make
    for database in made:
        if database._thread.is_alive():
            database.close()
