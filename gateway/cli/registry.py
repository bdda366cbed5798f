"""`berrygate devices export` and `import`: the registry as CSV."""

import csv
import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from gateway.cli.client import ask
from gateway.cli.common import CliError, Exit, complain, options, print_json

_PAGE = 200
_PIECE = 30_000  # characters of rows in one request, of which the gateway takes 64 kB of UTF-8
_SHOWN = 100  # bad rows that are told


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


def take(args: Namespace) -> int:
    """Read a table into the registry, a piece at a time."""
    totals: dict[str, Any] = {"taken": 0, "added": 0, "bad": []}
    bad = 0
    with _opened(args.file) as file:
        for rows in _pieces(file):
            found = ask(args, "registry_take", rows=rows, check=args.check)
            totals["taken"] += found["taken"]
            totals["added"] += found["added"]
            bad += len(found["bad"])
            totals["bad"] += found["bad"][: _SHOWN - len(totals["bad"])]
    if args.json:
        print_json(totals)
        return Exit.FAILED if bad else Exit.OK
    for line, why in totals["bad"]:
        complain(f"{args.file}:{line}: {why}")
    if bad > len(totals["bad"]):
        complain(f"and {bad - len(totals['bad'])} more")
    done = "would be taken" if args.check else "taken"
    print(f"{totals['taken']} rows {done}, {totals['added']} new devices, {bad} bad rows")
    return Exit.FAILED if bad else Exit.OK


def _opened(name: str) -> TextIO:
    if name == "-":
        return sys.stdin
    try:
        return Path(name).open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}", Exit.USAGE) from error


def _pieces(file: TextIO) -> Iterator[list[tuple[int, dict[str, str]]]]:
    """The rows with the numbers of their lines, so many at a time. Raises CliError."""
    reader = csv.DictReader(file)
    rows: list[tuple[int, dict[str, str]]] = []
    size = 0
    try:
        for row in reader:
            if None in row:
                raise CliError(f"line {reader.line_num}: more fields than the head", Exit.USAGE)
            filled = {key: value or "" for key, value in row.items()}
            rows.append((reader.line_num, filled))
            size += sum(map(len, filled.values())) + sum(map(len, filled)) + 50
            if size > _PIECE or len(rows) == _PAGE:
                yield rows
                rows, size = [], 0
    except (csv.Error, UnicodeDecodeError) as error:
        raise CliError(f"line {reader.line_num + 1}: {error}", Exit.USAGE) from error
    if reader.fieldnames is None:
        raise CliError("the file is empty", Exit.USAGE, "its first line names the columns")
    if rows:
        yield rows
