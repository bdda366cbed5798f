"""A SQLite file with one writer thread, durable commits, and numbered migrations.

WAL with synchronous=FULL: in a thousand simulated power cuts NORMAL lost committed rows in most,
FULL in none. A damaged file is set aside and what can still be read of it is kept; a disk that
refuses (full, read-only) is waited for. Neither is ever in the way of a start.
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

from gateway.core.errors import ConfigError
from gateway.io.sqlite import salvage
from gateway.io.sqlite.file import SqliteFile
from gateway.io.sqlite.salvage import Rescue, SetAside

log = logging.getLogger(__name__)

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_AT_START, _LATER = 5.0, 60.0
"""How long saving rows may take (s): the gateway starts within 10 s."""


def statements(text: str) -> dict[str, str]:
    """The statements of a .sql file, each under its `-- name: …` line."""
    parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


class Database:
    """See the module. migrations: a directory of 0001_….sql files, applied in order once each.
    rescue: what of a damaged file is worth keeping. page: see SqliteFile.

    set_aside: the damaged files that were replaced since the start. generation: how many; whoever
    keeps something of the content in memory reads it again when this has grown. busy: seconds that
    the writer has spent on jobs that are over.

    Raises ConfigError for a file that a newer release has written: going back would harm it.
    """

    def __init__(
        self,
        path: Path,
        migrations: Traversable,
        rescue: Rescue | None = None,
        page: int = 4_096,
    ) -> None:
        self.path = path
        self.set_aside: list[SetAside] = []
        self._rescue = rescue or Rescue()
        self._jobs: queue.SimpleQueue[tuple[Job[Any], Future[Any], bool] | None]
        self._jobs = queue.SimpleQueue()
        self._submitting = threading.Lock()
        self._closed = False
        self._reading = threading.Lock()
        self._at_work = float("inf")  # since when the writer is at one job (monotonic)
        self.busy = 0.0
        self._file = SqliteFile(path, migrations, page)
        self._writer: sqlite3.Connection | None
        self._reader: sqlite3.Connection
        self._writer, self._reader = self._open()
        self._thread = threading.Thread(target=self._work, name=path.name, daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """See the class."""
        return len(self.set_aside)

    async def write(self, job: Job[T]) -> T:
        """Run `job` in the writer thread, in one transaction; durable once this returns.

        Raises what `job` raises (then nothing of it is kept), sqlite3.Error, or OSError. After an
        error of a damaged file the next call finds a new one; see `generation`.
        """
        return await asyncio.wrap_future(self.submit(job))

    async def checkpoint(self) -> None:
        """Bring what is in the write-ahead log into the file, as far as no reader is in the way.
        Raises sqlite3.Error, OSError."""

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        await asyncio.wrap_future(self.submit(job, alone=True))

    def submit(self, job: Job[T], *, alone: bool = False) -> "Future[T]":
        """As `write`, without a loop. alone: in no transaction."""
        future: Future[T] = Future()
        with self._submitting:
            if self._closed:  # nobody would ever answer
                future.set_exception(sqlite3.ProgrammingError(f"{self.path.name} is closed"))
            else:
                self._jobs.put((job, future, alone))
        return future

    def stuck_for(self) -> float:
        """How long (s) the writer has been at one job; 0.0 while it has none. A disk that refuses
        ends a job; one that hangs does not."""
        return max(time.monotonic() - self._at_work, 0.0)

    @property
    def waiting(self) -> int:
        """How many jobs wait for the writer."""
        return self._jobs.qsize()

    async def read(self, job: Job[T]) -> T:
        """Run `job` on the reading connection in a thread. Keep it short: while it runs the
        write-ahead log cannot shrink. Raises sqlite3.Error."""
        return await asyncio.to_thread(self.read_now, job)

    def read_now(self, job: Job[T]) -> T:
        """As `read`, in this thread."""
        with self._reading, salvage.readable():
            return job(self._reader)

    def load(self, job: Job[T]) -> T:
        """As `read_now`, for what is read at a start; of a file that turns out to be damaged, what
        is left of it. Raises sqlite3.Error."""
        try:
            return self.read_now(job)
        except sqlite3.Error as error:
            if not self.is_damage(error):
                raise
            self.repair(error, self.generation)
            return self.read_now(job)

    def is_damage(self, error: sqlite3.Error) -> bool:
        """Whether the error is the file's fault and stays until it is replaced."""
        return salvage.is_damage(error, self.path)

    def repair(self, error: sqlite3.Error, generation: int) -> None:
        """Put a new file in this one's place, with what can be read of it. For whoever reads
        that it is damaged. generation: when it was read; not replaced twice. Blocks.
        Raises sqlite3.Error, OSError."""

        def replace(connection: sqlite3.Connection) -> None:
            if generation == self.generation:
                raise salvage.DamagedError(str(error))

        failed = self.submit(replace).exception()
        if generation == self.generation and failed is not None:
            raise failed

    def close(self) -> None:
        """Finish what was submitted and close; blocks for that."""
        with self._submitting:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        with self._reading:
            self._reader.close()

    # -- opening ----------------------------------------------------------------------------

    def _open(self) -> tuple[sqlite3.Connection | None, sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._clear_sides()
            try:
                with salvage.readable():
                    return self._file.connect(check=True)
            except sqlite3.Error as error:
                if not salvage.is_damage(error, self.path):
                    raise
                return self._replace(error)
        except (sqlite3.Error, OSError) as error:
            log.error("%s cannot be written (%s); it is tried again", self.path, error)
            try:
                return None, self._file.stand_in()
            except sqlite3.Error:
                raise ConfigError(
                    f"{self.path} cannot be opened: {error}",
                    fix="free some space on its disk, and make it writable for this user",
                ) from error

    def _clear_sides(self) -> None:
        for aside in salvage.clear_sides(self.path):
            log.error("%s is %s; set aside as %s", aside.file, aside.reason, aside.kept_as)
            self.set_aside.append(aside)

    def _replace(
        self, error: Exception, longest: float = _AT_START
    ) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """Set the damaged file aside; a new one, with what can be read of it."""
        aside = salvage.move_aside(self.path, error)
        self.set_aside.append(aside)
        log.error("%s is damaged (%s); set aside as %s", self.path, error, aside.kept_as)
        writer, reader = self._file.connect()
        try:
            old = self.path.with_name(aside.kept_as)
            salvage.copy(old, writer, self._rescue, aside, time.monotonic() + longest)
        except sqlite3.Error as refused:  # the disk is full: go on empty rather than not at all
            log.error("%s: nothing of %s could be saved: %s", self.path, aside.kept_as, refused)
        else:
            log.warning("%s: %d rows saved, %d lost", self.path, aside.saved, aside.lost)
        return writer, reader

    # -- the writer thread ------------------------------------------------------------------

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future, alone = item
            if not future.set_running_or_notify_cancel():
                continue
            self._at_work = time.monotonic()
            try:
                result = self._run(job, alone)
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked for the job
                self._mend(error)
                future.set_exception(error)
            else:
                future.set_result(result)
            self.busy += time.monotonic() - self._at_work
            self._at_work = float("inf")
        if self._writer is not None:
            self._writer.close()

    def _run(self, job: Job[T], alone: bool = False) -> T:
        writer = self._writer or self._reopen()
        self._file.must_be_there()
        if alone:
            return job(writer)
        writer.execute("BEGIN IMMEDIATE")
        try:
            with salvage.readable():
                result = job(writer)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return result

    def _reopen(self) -> sqlite3.Connection:
        """The writer, once the disk takes data again. Raises sqlite3.Error, OSError."""
        with self._reading:
            self._reader.close()
            try:
                writer, self._reader = self._file.connect()
            except (sqlite3.Error, OSError):
                self._reader = self._file.stand_in()
                raise
        self._writer = writer
        log.warning("%s is written again", self.path)
        return writer

    def _mend(self, error: BaseException) -> None:
        """After an error that only a new file ends: the damage may lie where every write goes."""
        if not isinstance(error, sqlite3.Error) or not salvage.is_damage(error, self.path):
            return
        with self._reading:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()
            self._writer = None
            try:
                self._writer, self._reader = self._replace(error, _LATER)
            except (sqlite3.Error, OSError) as refused:
                log.error("%s cannot be replaced: %s; it is tried again", self.path, refused)
