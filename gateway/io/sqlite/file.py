"""How a SQLite file is opened: settings, migrations, and what is read while the disk refuses."""

import sqlite3
from contextlib import closing
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.core.errors import ConfigError
from gateway.io.sqlite import salvage

_CHECKED = 16_000_000
"""Files up to this size (bytes) are looked through at each start; it costs a slow card 0.4 s."""
_OURS = 0x42470000
"""Added to the version, a database's application id (sqlite.org/fileformat.html, 1.3.17)."""
_WAL_LEFT = 4_000_000
"""What a write-ahead log that had to grow is cut back to (bytes)."""
_WAL_FULL = 4_096_000
"""Bytes of the write-ahead log that are brought into the database together."""


class SqliteFile:
    """See the module. migrations: a directory of 0001_….sql files, applied in order once each.
    page: bytes of each page of a new file; one that is there keeps its own."""

    def __init__(self, path: Path, migrations: Traversable, page: int) -> None:
        self.path = path
        self._migrations = migrations
        self._page = page
        self._inode = 0
        # Where this fails the program is wrong and not the file.
        with closing(self._empty()) as empty:
            self._model = salvage.columns_of(empty)

    def connect(self, *, check: bool = False) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """The connections to write and to read with. check: look through a small file first.
        Raises sqlite3.Error, among them DamagedError, or OSError."""
        writer = self._connection()
        try:
            # Before there is a table: from then on the file can give space back.
            writer.execute(f"PRAGMA page_size={self._page}")
            writer.execute("PRAGMA auto_vacuum=INCREMENTAL")
            writer.execute("PRAGMA journal_mode=WAL")
            self._migrate(writer)
            salvage.must_fit(writer, self._model)
            if check and self.path.stat().st_size <= _CHECKED:
                salvage.look_through(writer)
            reader = self._connection()
            reader.execute("PRAGMA query_only=ON")
            self._inode = self.path.stat().st_ino
        except BaseException:
            writer.close()
            raise
        return writer, reader

    def _connection(self, *first: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        connection.text_factory = salvage.text
        pragmas = ("synchronous=FULL", "mmap_size=0", "foreign_keys=ON", "cache_size=-2000")
        log = (f"wal_autocheckpoint={_WAL_FULL // self._page}", f"journal_size_limit={_WAL_LEFT}")
        try:
            for pragma in (*first, *pragmas, *log):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()  # it may hold a lock already
            raise
        return connection

    def stand_in(self) -> sqlite3.Connection:
        """What is read while the disk refuses: the file without the shared memory that cannot be
        made beside it, or nothing where nothing was ever stored. Raises sqlite3.Error."""
        if not self.path.exists():
            return self._empty()
        # Locked like this SQLite keeps the index of the write-ahead log in memory.
        reader = self._connection("locking_mode=EXCLUSIVE")
        try:
            if reader.execute("PRAGMA user_version").fetchone() == (0,):
                reader.close()
                return self._empty()
            salvage.must_fit(reader, self._model)
        except sqlite3.Error:
            reader.close()
            raise
        return reader

    def _empty(self) -> sqlite3.Connection:
        """An empty database of this kind, in memory."""
        empty = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._migrate(empty)
        return empty

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (done,) = connection.execute("PRAGMA user_version").fetchone()
        if not done and connection.execute("SELECT name FROM sqlite_master").fetchone():
            raise salvage.DamagedError("another program's database")
        entries = sorted(self._migrations.iterdir(), key=lambda entry: entry.name)
        files = [(int(e.name.split("_")[0]), e) for e in entries if e.name.endswith(".sql")]
        (known,) = connection.execute("PRAGMA application_id").fetchone()
        # Told twice, for a flipped bit in the one would pass for a newer release's file.
        if known not in (0, _OURS + done):
            raise salvage.DamagedError("of a version that no release has")
        if done > max((number for number, _ in files), default=done):
            salvage.must_fit(connection, self._model)  # or it is another program's
            raise ConfigError(
                f"{self.path} was written by a newer release",
                fix="install that release again, or go back with sudo ./install.sh rollback",
            )
        for number, file in files:
            if number > done:
                text = file.read_text()
                try:
                    told = f"PRAGMA user_version={number};PRAGMA application_id={_OURS + number}"
                    connection.executescript(f"BEGIN;{text};{told};COMMIT;")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                        raise salvage.DamagedError(f"{file.name}: {error}") from error
                    raise

    def must_be_there(self) -> None:
        """SQLite would go on in a file that somebody has deleted, and it would end with us."""
        try:
            there = self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            there = False
        if not there:
            raise salvage.DamagedError("deleted or replaced while it was open")
