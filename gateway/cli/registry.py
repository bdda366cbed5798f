"""`berrygate devices export` and `import`: the registry as CSV."""

import csv
import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from gateway.cli.client import ask
from gateway.cli.common import CliError, Exit, complain, options, print_json

_PAGE = 200
_PIECE = 30_000  # characters of rows in one request, of which the gateway takes 64 kB of UTF-8
_SHOWN = 100  # bad rows that are told
_Row = tuple[int, dict[str, str]]


def add(actions: "_SubParsersAction[Any]") -> None:
    """Add the actions."""
    shared = [options()]
    exporting = actions.add_parser("export", parents=shared, help="the registry as CSV, to stdout")
    exporting.set_defaults(do=export)
    importing = actions.add_parser("import", parents=shared, help="names, tags and new devices")
    importing.add_argument("file", metavar="FILE", help="CSV with a head; - is stdin")
    importing.add_argument("--check", action="store_true", help="change nothing, tell bad rows")
    importing.set_defaults(do=take)


def export(args: Namespace) -> int:
    """Write the registry to stdout."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    offset, rows = 0, []
    while True:
        found = ask(args, "registry_rows", offset=offset, limit=_PAGE)
        if args.json:
            rows += [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
        else:
            if not offset:
                writer.writerow(found["columns"])
            writer.writerows(found["rows"])
        if len(found["rows"]) < _PAGE:
            break
        offset += _PAGE
    if args.json:
        print_json(rows)
    return Exit.OK


class _Totals:
    """What has become of the rows so far. bad: the first ones, of `count`."""

    def __init__(self) -> None:
        self.taken = self.added = self.count = 0
        self.bad: list[tuple[int, str]] = []

    def add(self, found: dict[str, Any], bad: Sequence[tuple[int, str]]) -> None:
        """A piece: what the gateway says of it, and what did not get that far."""
        self.taken += found["taken"]
        self.added += found["added"]
        bad = sorted([*map(tuple, found["bad"]), *bad])
        self.count += len(bad)
        self.bad += bad[: _SHOWN - len(self.bad)]

    def complain(self, file: str) -> None:
        """Tell the bad rows."""
        for line, why in self.bad:
            complain(f"{file}:{line}: {why}")
        if self.count > len(self.bad):
            complain(f"and {self.count - len(self.bad)} more")


def take(args: Namespace) -> int:
    """Read a table into the registry, a piece at a time."""
    totals = _Totals()
    try:
        with _opened(args.file) as file:
            for rows, bad in _pieces(file):
                totals.add(ask(args, "registry_take", rows=rows, check=args.check), bad)
    except CliError as error:
        totals.complain(args.file)
        if args.check or not totals.taken:
            raise
        text = f"{error}; {totals.taken} rows were taken before, and may come again"
        raise CliError(text, error.code, error.fix) from error
    if args.json:
        print_json({"taken": totals.taken, "added": totals.added, "bad": totals.bad})
    else:
        totals.complain(args.file)
        done = "would be taken" if args.check else "taken"
        print(f"{totals.taken} rows {done}, {totals.added} new devices, {totals.count} bad rows")
    return Exit.FAILED if totals.count else Exit.OK


def _opened(name: str) -> TextIO:
    # What is no UTF-8 is found in _lines, which knows in which line it is.
    form, lax = "utf-8-sig", "surrogateescape"
    try:
        if name == "-":
            return open(0, newline="", encoding=form, errors=lax, closefd=False)
        return Path(name).open(newline="", encoding=form, errors=lax)
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}", Exit.USAGE) from error


def _lines(file: TextIO) -> Iterator[str]:
    """Raises CliError for one that is no UTF-8."""
    for number, line in enumerate(file, 1):
        if not line.isascii():
            try:
                line.encode()
            except UnicodeEncodeError as error:
                text, fix = f"line {number} is not UTF-8", 'save it as "CSV UTF-8"'
                raise CliError(text, Exit.USAGE, fix) from error
        yield line


def _pieces(file: TextIO) -> Iterator[tuple[list[_Row], list[tuple[int, str]]]]:
    """The rows with the numbers of their lines, so many at a time, and those that cannot be read.
    Raises CliError."""
    reader = csv.DictReader(_lines(file))
    rows: list[_Row] = []
    bad: list[tuple[int, str]] = []
    size = 0
    try:
        _look(reader.fieldnames)
        for row in reader:
            if None in row:
                bad.append((reader.line_num, "more fields than the head has columns"))
            else:
                filled = {key: value or "" for key, value in row.items()}
                rows.append((reader.line_num, filled))
                size += sum(map(len, filled.values())) + sum(map(len, filled)) + 50
            if size > _PIECE or len(rows) + len(bad) == _PAGE:
                yield rows, bad
                rows, bad, size = [], [], 0
    except csv.Error as error:
        raise CliError(f"line {reader.line_num + 1}: {error}", Exit.USAGE) from error
    if rows or bad:
        yield rows, bad


def _look(head: Sequence[str] | None) -> None:
    """Raises CliError."""
    if head is None:
        raise CliError("the file is empty", Exit.USAGE, "its first line names the columns")
    for sign, name in ((";", '";"'), ("\t", "tabs")):
        if len(head) == 1 and sign in head[0]:
            text = f"line 1: the columns are divided by {name}, not by commas"
            fix = "save it with commas: Excel takes the system's list separator, LibreOffice asks"
            raise CliError(text, Exit.USAGE, fix)
