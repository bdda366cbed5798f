"""Is everything that is kept whole? Reads the journal and both databases from end to end.

Offline or beside a running gateway: takes no lock of its own, writes nothing, and holds one block,
one chunk or one page at a time.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.bus import block as blocks
from gateway.bus.block import CorruptBlockError
from gateway.bus.records import CursorRecord
from gateway.bus.segment import Damage, Segment, open_segment, scan
from gateway.core.contracts import Reading
from gateway.io.sqlite import salvage
from gateway.store.checksums import is_whole
from gateway.store.looking import history_problems

_STEP = 64  # rows read at once
_MOST = 100  # findings of one file that are told one by one
_AGAIN = 0.5  # s after which a block that looked torn is whole, if it was being written
_START = "start the gateway: it sets the file aside, keeps what can be read of it"
_READ = "run this as the gateway's user, or as root"

Progress = Callable[[str, int, int], None]
"""Told now and then: what is read, how far (bytes or rows) of how many."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file (relative to the data directory), and what to do."""

    file: str
    problem: str
    fix: str


@dataclass(slots=True)
class Report:
    """What was read, and what is wrong with it. notes: what is worth knowing and not wrong."""

    segments: int = 0
    blocks: int = 0
    readings: int = 0
    chunks: int = 0
    samples: int = 0
    rollups: int = 0
    devices: int = 0
    dead_letters: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, file: str, problem: str, fix: str) -> None:
        """Note a finding; of a file with very many only the first are told."""
        count = sum(finding.file == file for finding in self.findings)
        if count < _MOST:
            self.findings.append(Finding(file, problem, fix))
        elif count == _MOST:
            self.findings.append(Finding(file, "more of the same", fix))


def check(directory: Path, progress: Progress = lambda what, done, whole: None) -> Report:
    """Read everything in a data directory. Raises FileNotFoundError where there is none."""
    directory.stat()
    report = Report()
    # The databases first: a running gateway's journal is then never behind what they say of it.
    _database(directory, "state.db", report, progress, _state)
    reached = _database(directory, "history.db", report, progress, _history)
    end = _journal(directory / "journal", report, progress)
    if end and reached > end:
        report.notes.append(
            f"history has come to {reached}, the journal ends at {end}: it has lost its end; "
            "new readings go on behind history's"
        )
    for pattern in ("*.damaged*", "*/*.damaged*"):
        for file in sorted(directory.glob(pattern)):
            name = file.relative_to(directory)
            report.notes.append(f"{name} was set aside earlier; delete it when you do not need it")
    return report


# -- journal --------------------------------------------------------------------------------


def _journal(directory: Path, report: Report, progress: Progress) -> int:
    """The sequence after the last reading, 0 if there is none."""
    cursors: dict[str, CursorRecord] = {}
    paths = sorted(directory.glob("*.seg"))
    end = 0
    for number, path in enumerate(paths):
        progress("journal", number, len(paths))
        name = f"{directory.name}/{path.name}"
        try:
            problems, last = _segment(path, report, cursors)
            if problems and path == paths[-1]:
                time.sleep(_AGAIN)
                problems, last = _segment(path, Report(), cursors)
        except FileNotFoundError:
            continue  # it was the oldest, and has been retired meanwhile
        except PermissionError as error:
            report.add(name, str(error.strerror), _READ)
            continue
        except (CorruptBlockError, OSError) as error:
            report.add(name, str(error), f"{_START}; what it held is lost to bridges behind it")
            continue
        end = max(end, last)
        for problem in problems:
            report.add(
                name, problem, "nothing: the gateway skips it; the readings in it are lost unless "
                "a bridge or history has them; look at the disk",
            )  # fmt: skip
    for name, record in cursors.items():
        if end and max(record.lanes, default=0) > end:
            report.add(
                f"{directory.name}/", f"cursor of {name} is at {max(record.lanes)}, behind the "
                f"end ({end})", "nothing: the gateway goes on behind it; look at the disk",
            )  # fmt: skip
    return end


def _segment(path: Path, report: Report, cursors: dict[str, CursorRecord]) -> tuple[list[str], int]:
    """What is wrong, and the sequence after the last reading. Raises CorruptBlockError, OSError."""
    segment: Segment = open_segment(path)
    report.segments += 1
    problems = []
    for found in scan(segment):
        if isinstance(found, Damage):
            problems.append(f"{found.length} bytes at {found.offset} are damaged: {found.reason}")
            continue
        header, data = found
        try:
            block = blocks.decode(data, 0, segment.index)
        except CorruptBlockError as error:
            problems.append(f"block of readings {header.first} to {header.end - 1}: {error}")
            continue
        report.blocks += 1
        report.readings += len(block.readings)
        cursors.update(block.meta.cursors)
        for name in block.meta.removed:
            cursors.pop(name, None)
    return problems, segment.end


# -- databases ------------------------------------------------------------------------------

_Rows = Callable[[sqlite3.Connection, "_Check"], int]


@dataclass(slots=True)
class _Check:
    """One look at one database. version: of its schema."""

    file: str
    report: Report
    progress: Progress

    def wrong(self, problem: str) -> None:
        self.report.add(self.file, problem, f"{_START} and fills history from the journal")

    def rows(self, connection: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
        """Every row, with its number first; no reading lasts longer than a step."""
        (whole,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        last, done = -(2**63), 0
        statement = f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_STEP}"
        while rows := connection.execute(statement, (last,)).fetchall():
            yield from rows
            last, done = rows[-1][0], done + len(rows)
            self.progress(f"{self.file}: {table}", done, whole)


def _database(directory: Path, name: str, report: Report, progress: Progress, rows: _Rows) -> int:
    """What `rows` found; 0 where it could not look."""
    path = directory / name
    if not path.exists():
        report.notes.append(f"{name} is not there; the gateway makes it")
        return 0
    quiet = not any(path.with_name(name + suffix).exists() for suffix in ("-wal", "-shm"))
    own = Report()
    result = _look(path, _Check(name, own, progress), rows, quiet)
    if own.findings and quiet and path.with_name(f"{name}-wal").exists():
        own = Report()  # a gateway has started meanwhile and written to what was thought to rest
        result = _look(path, _Check(name, own, progress), rows, quiet=False)
    report.findings += own.findings
    report.notes += own.notes
    for count in ("chunks", "samples", "rollups", "devices", "dead_letters"):
        setattr(report, count, getattr(report, count) + getattr(own, count))
    return result


def _look(path: Path, check: _Check, rows: _Rows, quiet: bool) -> int:
    # An immutable file is read without its shared memory: beside it nothing is made.
    uri = f"file:{quote(str(path.absolute()))}?" + ("immutable=1" if quiet else "mode=ro")
    try:
        check.progress(check.file, 0, 1)
        with (
            salvage.readable(),
            closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
        ):
            connection.text_factory = salvage.text
            for (problem,) in connection.execute(f"PRAGMA quick_check({_MOST})"):
                if problem != "ok":
                    check.wrong(" ".join(problem.split()))
            for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                check.wrong(f"{table} {rowid} belongs to a {parent} that is not there")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < _newest(path.stem):
                check.report.notes.append(
                    f"{check.file} is from an older version: its rows are not checked; "
                    "start the gateway once"
                )
                return 0
            return rows(connection, check)
    except sqlite3.Error as error:
        if salvage.is_damage(error, path):
            check.wrong(str(error))
        else:
            check.report.add(check.file, str(error), _READ)
    return 0


def _newest(kind: str) -> int:
    migrations = files("gateway.store") / "migrations" / kind
    return max(int(entry.name.split("_")[0]) for entry in migrations.iterdir())


_READING = 11  # its place in a row of dead_letter, behind the row's number


def _state(connection: sqlite3.Connection, check: _Check) -> int:
    for rowid, device, original, source, first_seen, *_, crc in check.rows(connection, "device"):
        check.report.devices += 1
        if not is_whole((device, original, source, first_seen, crc)):
            check.wrong(f"device {rowid} ({device!r}): its checksum does not hold")
    for row in check.rows(connection, "dead_letter"):
        check.report.dead_letters += 1
        reading = row[_READING]
        try:
            if reading is not None:
                msgspec.msgpack.decode(reading, type=Reading)
        except msgspec.MsgspecError as error:
            check.wrong(f"dead letter {row[0]}: its reading is damaged: {error}")
    return 0


def _history(connection: sqlite3.Connection, check: _Check) -> int:
    found: Counter[str] = Counter()
    for problem in history_problems(connection, partial(check.rows, connection), found):
        check.wrong(problem)
    for kind in ("chunks", "samples", "rollups"):
        setattr(check.report, kind, found[kind])
    return found["reached"]
