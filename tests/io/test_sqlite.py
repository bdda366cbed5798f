"""A database file that is written by one thread, replaced when damaged, and waited for when the
disk refuses."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.errors import ConfigError
from gateway.io.sqlite.database import Database, statements
from gateway.io.sqlite.salvage import Rescue

FIRST = "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"
SECOND = "ALTER TABLE thing ADD COLUMN size INTEGER; CREATE INDEX by_name ON thing (name);"


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    directory = tmp_path / "migrations"
    directory.mkdir()
    (directory / "0001_things.sql").write_text(FIRST)
    return directory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "things.db"


def names(database: Database) -> list[str]:
    rows = database.read_now(lambda c: c.execute("SELECT name FROM thing ORDER BY id").fetchall())
    return [name for (name,) in rows]


def insert(database: Database, *values: str) -> None:
    rows = [(value,) for value in values]
    job = "INSERT INTO thing (name) VALUES (?)"
    database.submit(lambda c: c.executemany(job, rows)).result(10)


def test_statements_have_names() -> None:
    text = "-- a file\n-- name: one\nSELECT 1\n-- name: two\nSELECT 2,\n  3\n"
    assert statements(text) == {"one": "SELECT 1", "two": "SELECT 2,\n  3"}


def test_migrations_run_once_each_and_in_order(path: Path, migrations: Path) -> None:
    database = Database(path, migrations)
    insert(database, "old")
    database.close()
    (migrations / "0002_sizes.sql").write_text(SECOND)
    (migrations / "notes.txt").write_text("not SQL")
    for _ in range(2):
        database = Database(path, migrations)
        assert database.read_now(lambda c: c.execute("SELECT * FROM thing").fetchall()) == [
            (1, "old", None)
        ]
        assert database.read_now(lambda c: c.execute("PRAGMA user_version").fetchone()) == (2,)
        assert database.set_aside == []
        database.close()


def test_a_newer_release_s_file_is_refused_and_a_flipped_bit_is_not_taken_for_one(
    path: Path, migrations: Path
) -> None:
    (migrations / "0002_sizes.sql").write_text(SECOND)
    database = Database(path, migrations)
    insert(database, "kept")
    database.close()
    (migrations / "0002_sizes.sql").unlink()
    with pytest.raises(ConfigError, match="newer release"):
        Database(path, migrations)
    (migrations / "0002_sizes.sql").write_text(SECOND)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 10")
    database = Database(path, migrations)
    assert [aside.reason for aside in database.set_aside] == ["of a version that no release has"]
    assert names(database) == ["kept"]
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, migrations: Path) -> None:
    Database(path, migrations).close()
    (migrations / "0002_bad.sql").write_text("CREATE TABLE other (x); SELECT nothing FROM nowhere;")
    with pytest.raises(sqlite3.Error):
        Database(path, migrations)
    tables = sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall()
    assert ("other",) not in tables


async def test_writes_are_durable_transactions_in_order(path: Path, migrations: Path) -> None:
    database = Database(path, migrations)

    def failing(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO thing (name) VALUES ('half')")
        raise ValueError("in the middle")

    jobs = [
        database.write(
            lambda c, n=n: c.execute("INSERT INTO thing (name) VALUES (?)", (f"n{n}",)).lastrowid
        )
        for n in range(50)
    ]
    jobs.insert(25, database.write(failing))
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(results.pop(25), ValueError)
    assert results == list(range(1, 51))
    # Another process sees each of them as soon as it is told.
    seen = sqlite3.connect(path).execute("SELECT name FROM thing ORDER BY id").fetchall()
    assert [name for (name,) in seen] == [f"n{n}" for n in range(50)] == names(database)
    with pytest.raises(sqlite3.OperationalError):
        await database.read(lambda c: c.execute("DELETE FROM thing"))
    database.close()


def test_what_was_submitted_before_closing_is_written_and_the_rest_is_refused(
    path: Path, migrations: Path
) -> None:
    database = Database(path, migrations)
    gate = threading.Event()
    first = database.submit(lambda c: gate.wait(10))
    waiting = [
        database.submit(lambda c: c.execute("INSERT INTO thing (name) VALUES ('late')"))
        for _ in range(20)
    ]
    closing = threading.Thread(target=database.close)
    closing.start()
    time.sleep(0.1)
    after = database.submit(lambda c: None)
    gate.set()
    closing.join(10)
    assert not closing.is_alive()
    assert first.done()
    assert all(future.exception(5) is None for future in waiting)
    assert isinstance(after.exception(5), sqlite3.ProgrammingError)
    assert names(Database(path, migrations)) == ["late"] * 20


async def test_a_locked_file_is_waited_for_and_never_set_aside(
    path: Path, migrations: Path
) -> None:
    database = Database(path, migrations)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(
        database.write(lambda c: c.execute("INSERT INTO thing (name) VALUES ('x')"))
    )
    await asyncio.sleep(0.3)
    assert not write.done()
    assert names(database) == []  # reading goes on
    other.execute("ROLLBACK")
    await asyncio.wait_for(write, 5)
    assert names(database) == ["x"]
    assert database.set_aside == []
    database.close()


def spoil_page(path: Path, number: int) -> None:
    data = bytearray(path.read_bytes())
    data[(number - 1) * 4_096 : number * 4_096] = b"\xa5" * 4_096
    path.write_bytes(data)


def filled(path: Path, migrations: Path, rows: int = 2_000) -> None:
    (migrations / "0002_sizes.sql").write_text(SECOND)
    database = Database(path, migrations)
    insert(database, *(f"name {number:05d} {'x' * 40}" for number in range(rows)))
    database.close()


def pages_of(path: Path, name: str) -> list[int]:
    """The pages of a table or index, its root first."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)
        ).fetchone()
    data = path.read_bytes()
    page = data[(root - 1) * 4_096 : root * 4_096]
    cells = int.from_bytes(page[3:5], "big")
    places = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n], "big") for n in range(cells)]
    return [root, *(int.from_bytes(page[place : place + 4], "big") for place in places)]


@pytest.mark.parametrize("where", ["one page", "two pages", "a page and the index"])
def test_rows_around_damage_are_saved(path: Path, migrations: Path, where: str) -> None:
    filled(path, migrations)
    leaves = pages_of(path, "thing")[1:]
    spoil_page(path, leaves[len(leaves) // 3])
    if where == "two pages":  # what lies between is found by the index alone
        spoil_page(path, leaves[2 * len(leaves) // 3])
    if where == "a page and the index":  # what lies behind, by reading the table from its end
        spoil_page(path, pages_of(path, "by_name")[0])
    database = Database(path, migrations)
    (aside,) = database.set_aside
    assert aside.file == "things.db"
    assert (path.parent / aside.kept_as).exists()
    assert aside.saved == len(names(database)) > 1_850
    assert sorted(names(database)) == names(database)
    insert(database, "new")
    database.close()
    again = Database(path, migrations)
    assert again.set_aside == []
    again.close()


def test_what_makes_no_sense_is_not_saved(path: Path, migrations: Path) -> None:
    filled(path, migrations, 100)
    spoil_page(path, path.stat().st_size // 4_096)
    rescue = Rescue(
        keep=lambda table, row: table == "thing" and row[0] % 2 == 0,
        after="UPDATE thing SET size = 1; UPDATE thing SET size = size + 1",
    )
    database = Database(path, migrations, rescue)
    found = database.read_now(lambda c: c.execute("SELECT id, size FROM thing").fetchall())
    assert found
    assert all(number % 2 == 0 and size == 2 for number, size in found)
    assert database.set_aside[0].lost >= 50
    database.close()


async def test_damage_found_while_it_runs_is_mended(path: Path, migrations: Path) -> None:
    filled(path, migrations)
    database = Database(path, migrations)
    assert database.generation == 0
    insert(database, "moved to the log")
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for page in range(3, path.stat().st_size // 4_096):
        spoil_page(path, page)
    with pytest.raises(sqlite3.DatabaseError):
        await database.write(lambda c: c.execute("UPDATE thing SET size = 1"))
    assert database.generation == 1
    await database.write(lambda c: c.execute("INSERT INTO thing (name) VALUES ('after')"))
    assert names(database)[-1] == "after"
    # Two readers that saw the old damage do not have the new file replaced.
    database.repair(sqlite3.DatabaseError("seen before"), 0)
    assert database.generation == 1
    database.close()


async def test_a_file_that_is_deleted_while_it_runs_is_made_again(
    path: Path, migrations: Path
) -> None:
    database = Database(path, migrations)
    insert(database, "gone")
    for file in path.parent.glob("things.db*"):
        file.unlink()
    with pytest.raises(sqlite3.Error):
        await database.write(lambda c: c.execute("INSERT INTO thing (name) VALUES ('x')"))
    await database.write(lambda c: c.execute("INSERT INTO thing (name) VALUES ('y')"))
    assert names(database) == ["y"]
    assert path.exists()
    database.close()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_directory_in_the_place_of_a_file_is_moved_out_of_the_way(
    path: Path, migrations: Path, suffix: str
) -> None:
    Database(path, migrations).close()
    place = path.with_name(path.name + suffix)
    place.unlink(missing_ok=True)
    (place / "inside").mkdir(parents=True)
    database = Database(path, migrations)
    insert(database, "x")
    assert names(database) == ["x"]
    assert len(database.set_aside) == 1
    assert list(path.parent.rglob("inside"))
    database.close()


def test_only_the_last_two_damaged_files_are_kept(path: Path, migrations: Path) -> None:
    kept = []
    for number in range(5):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"no database {number}".encode() * 100)
        database = Database(path, migrations)
        kept.append(database.set_aside[0].kept_as)
        database.close()
    assert sorted(file.name for file in path.parent.glob("*.damaged-*")) == kept[-2:]
    assert len(set(kept)) == 5
