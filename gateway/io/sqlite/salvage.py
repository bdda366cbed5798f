"""What can still be read of a damaged SQLite file, and where the file itself is kept."""

import contextlib
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_KEPT = 2  # damaged files kept of one database: they must not fill the disk
_SIDE = ("-wal", "-shm")
# https://www.sqlite.org/rescode.html: CORRUPT, FORMAT, NOTADB.
_DAMAGE = {11, 24, 26}
# The disk cannot give back a page (IOERR_READ, _SHORT_READ, _DATA, _CORRUPTFS), or the file was
# taken from under us (READONLY_DBMOVED).
_DAMAGE_EXTENDED = {266, 522, 8202, 8458, 1032}
_UNUSABLE = {10, 14}  # IOERR, CANTOPEN: a directory, a pipe, or nothing we may read
_READONLY = 8

Row = tuple[Any, ...]
Columns = dict[str, list[str]]


class DamagedError(sqlite3.DatabaseError):
    """The file can be read but is not what it should be."""


@dataclass(slots=True)
class SetAside:
    """A damaged file that was replaced. kept_as: its name now, in the same directory. time: ns.
    saved, lost: rows that were copied from it, and rows that could not be read."""

    file: str
    kept_as: str
    reason: str
    time: int
    saved: int = 0
    lost: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the API; time in epoch ms."""
        return {
            "file": self.file,
            "as": self.kept_as,
            "reason": self.reason,
            "time": self.time // 1_000_000,
            "saved": self.saved,
            "lost": self.lost,
        }


@dataclass(frozen=True, slots=True)
class Rescue:
    """What of a damaged database is worth keeping. keep: whether a row (of this table, in the
    order of its columns) makes sense. after: SQL that is run once the rows are copied. mend: run
    behind it, in the same transaction."""

    keep: Callable[[str, Row], bool] = lambda table, row: True
    after: str = ""
    mend: Callable[[sqlite3.Connection], None] = lambda connection: None


def text(data: bytes) -> str:
    """Text as it is stored; where a bit has flipped it is shown and not an error."""
    return data.decode(errors="replace")


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Raise DamagedError where SQLite's own message holds bytes of the damage."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DamagedError(f"not text: {error}") from error


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """Whether the error is the content's fault; a full, locked or read-only file is only waited
    for: to set a good one aside would be the loss itself."""
    if isinstance(error, DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    if code & 0xFF in _UNUSABLE and any(not _usable(file) for file in (path, *_sides(path))):
        return True
    if code == _READONLY:  # its head says so, although nothing else does
        return os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_RDONLY
    return code & 0xFF in _DAMAGE or code in _DAMAGE_EXTENDED


def _sides(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _SIDE]


def _usable(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return True  # not there: SQLite makes it
    return stat.S_ISREG(mode) and os.access(path, os.R_OK)


def must_fit(connection: sqlite3.Connection, model: Columns) -> None:
    """Raise DamagedError unless every table and column of `model` is there."""
    for table, wanted in model.items():
        missing = set(wanted) - set(_columns_of(connection, table))
        if missing:
            raise DamagedError(f"{table} has no {', '.join(sorted(missing))}")


def columns_of(connection: sqlite3.Connection) -> Columns:
    """The columns of each table, in order. Raises sqlite3.Error."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return {table: _columns_of(connection, table) for (table,) in tables}


def _columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]


def look_through(connection: sqlite3.Connection) -> None:
    """Raise DamagedError, or what SQLite raises, for pages and rows that are not whole."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(" ".join(str(found).split()))


def move_aside(path: Path, error: Exception | str) -> SetAside:
    """Give the file, and what lies beside it, another name; older ones of its kind go.
    Raises OSError."""
    now = time.time_ns()
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{now % 10**9:09d}"
    for file in (path, *_sides(path)):
        if file.exists() or file.is_symlink():
            file.rename(path.with_name(name + file.name.removeprefix(path.name)))
    _forget(path)
    return SetAside(path.name, name, str(error), now)


def clear_sides(path: Path) -> list[SetAside]:
    """Move away what lies beside the file and is not what SQLite left there: it would not open
    over a directory, and would pass over a log of something else in silence. Raises OSError."""
    moved = []
    for file in _sides(path):
        if not _usable(file):
            moved.append(move_aside(file, "not a file that can be read"))
        elif file.name.endswith("-wal") and not _is_log(file):
            moved.append(move_aside(file, "not a write-ahead log"))
    return moved


def _is_log(file: Path) -> bool:
    """Whether it begins as one (https://www.sqlite.org/walformat.html), or is empty."""
    try:
        with file.open("rb") as opened:
            head = opened.read(4)
    except FileNotFoundError:
        return True
    return not head or head in (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def _forget(path: Path) -> None:
    """Delete all but the newest that were set aside; directories are somebody else's."""
    names = sorted(
        file for file in path.parent.glob(f"{path.name}.damaged-*")
        if not file.name.endswith(_SIDE)
    )  # fmt: skip
    for old in names[:-_KEPT]:
        for file in (old, *_sides(old)):
            with contextlib.suppress(OSError):
                file.unlink()


def copy(
    damaged: Path, fresh: sqlite3.Connection, rescue: Rescue, aside: SetAside, deadline: float
) -> None:
    """Copy every row of `damaged` that can be read and makes sense into `fresh`, which has the
    same tables, empty; count them in `aside`. The newest of each table come first; what is not
    copied at `deadline` (monotonic) stays behind. Raises sqlite3.Error for `fresh`, e.g. a full
    disk; nothing is kept then."""
    if not damaged.is_file():
        return
    source = sqlite3.connect(damaged, isolation_level=None, timeout=1.0)
    source.text_factory = text
    # One row may refer to another that is copied after it, or that is gone.
    fresh.execute("PRAGMA foreign_keys=OFF")
    fresh.execute("BEGIN")
    try:
        for table, columns in columns_of(fresh).items():
            _copy(source, fresh, table, columns, rescue, aside, deadline)
        for table in columns_of(fresh):
            for row in fresh.execute(f'PRAGMA foreign_key_check("{table}")').fetchall():
                fresh.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (row[1],))
                aside.saved -= 1
                aside.lost += 1
        for statement in filter(str.strip, rescue.after.split(";")):
            fresh.execute(statement)
        rescue.mend(fresh)
        fresh.execute("COMMIT")
    except BaseException:
        fresh.execute("ROLLBACK")
        aside.saved = 0
        raise
    finally:
        source.close()


def _copy(
    source: sqlite3.Connection,
    fresh: sqlite3.Connection,
    table: str,
    columns: list[str],
    rescue: Rescue,
    aside: SetAside,
    deadline: float,
) -> None:
    # A name that is not there SQLite would take for a text: what an older version lacks is null.
    there = {row[1] for row in _rows(source, f'PRAGMA table_info("{table}")')}
    names = ", ".join(f'"{column}"' if column in there else "NULL" for column in columns)
    read = f'SELECT {names} FROM "{table}" WHERE rowid = ?'
    write = f'INSERT OR REPLACE INTO "{table}" VALUES ({", ".join("?" * len(columns))})'
    for rowid in sorted(_rowids(source, table), reverse=True):
        if time.monotonic() > deadline:
            aside.lost += 1
            continue
        row = next(_rows(source, read, rowid), None)
        try:
            if row is None or not rescue.keep(table, row):
                aside.lost += 1
                continue
            fresh.execute(write, row)
        except sqlite3.IntegrityError:  # a value of another type than it should be
            aside.lost += 1
        else:
            aside.saved += 1


def _rowids(source: sqlite3.Connection, table: str) -> set[int]:
    """The rows there are: what the table and each of its indexes say, from both ends, up to
    where damage begins."""
    indexes = _rows(
        source, "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ?", table
    )
    paths = ["NOT INDEXED", *(f'INDEXED BY "{name}"' for (name,) in indexes)]
    found: set[int] = set()
    for path in paths:
        for order in ("ASC", "DESC"):
            column = "rowid" if path == "NOT INDEXED" else _first(source, path)
            rows = _rows(source, f'SELECT rowid FROM "{table}" {path} ORDER BY {column} {order}')
            found.update(row[0] for row in rows)
    return found


def _first(source: sqlite3.Connection, path: str) -> str:
    """The first column of an index: by it the index alone is walked, without sorting."""
    name = path.removeprefix("INDEXED BY ")
    columns = _rows(source, f"PRAGMA index_info({name})")
    return next((f'"{column}"' for _, _, column in columns), "rowid")


def _rows(connection: sqlite3.Connection, statement: str, *values: Any) -> Iterator[Row]:
    """What a query gives until it fails."""
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        yield from connection.execute(statement, values)
