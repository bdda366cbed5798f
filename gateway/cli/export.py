"""`berrygate export`: history out, as a stream."""

import os
import signal
import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from gateway.cli.client import bulk
from gateway.cli.common import CliError, Exit, complain, count, options, plain, size
from gateway.cli.devices import complete
from gateway.cli.progress import Progress
from gateway.cli.readings import AGGREGATES

FORMATS = ("csv", "json", "line")


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    exporting = commands.add_parser(
        "export", parents=[options()], help="history out: CSV, JSON, line protocol"
    )
    exporting.add_argument("--format", choices=FORMATS, help="default csv, or json with --json")
    device = exporting.add_argument(
        "--device", action="append", metavar="PATTERN", help="only these devices; may come again"
    )
    device.completer = complete
    exporting.add_argument(
        "--metric", action="append", metavar="PATTERN", help="only these metrics; may come again"
    )
    when = "ISO 8601, epoch ms, now, or a time ago such as -24h"
    exporting.add_argument("--start", help=f"{when}; default: from the beginning")
    exporting.add_argument("--end", help="as --start; default: to the end")
    exporting.add_argument(
        "--time", choices=("iso", "ms"), default="iso", help="how times are written; default iso"
    )
    exporting.add_argument("--every", metavar="TIME", help="one value for each 10s, 1m, 1h …")
    exporting.add_argument("--aggregate", choices=AGGREGATES, help="of what is in it; default avg")
    exporting.add_argument("-o", "--output", type=Path, metavar="FILE", help="not to stdout")
    exporting.set_defaults(do=export)


def export(args: Namespace) -> int:
    """Write history; 1 if something of it had to be left out."""
    asked = {
        "format": args.format or ("json" if args.json else "csv"),
        "time": args.time,
        **{
            name: value
            for name in ("device", "metric", "start", "end", "every", "aggregate")
            if (value := getattr(args, name)) is not None
        },
    }
    to_file = args.output is not None and str(args.output) != "-"
    progress = Progress("rows", wanted=to_file or not sys.stdout.isatty())
    written = 0
    with bulk(args, "export", **asked) as gateway:
        try:
            with _into(args.output) if to_file else _stdout() as write:
                for head, data in gateway.pieces():
                    write(data)
                    written += len(data)
                    progress(head["rows"], written, head["share"])
        finally:
            progress.clear()
        totals = gateway.end
    if to_file and sys.stderr.isatty():
        rows, series = count(totals["rows"]), count(totals["series"])
        print(f"{rows} rows of {series} series, {size(written)}", file=sys.stderr)
    for remark in totals["remarks"]:
        complain(plain(remark))
    return Exit.FAILED if totals["remarks"] else Exit.OK


@contextmanager
def _stdout() -> Iterator[Callable[[bytes], Any]]:
    def write(data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise CliError(f"cannot write: {error.strerror}", Exit.FAILED) from error

    yield write


@contextmanager
def _into(path: Path) -> Iterator[Callable[[bytes], Any]]:
    """Write a file, which is there under its name once it is whole, or not at all. Raises
    CliError."""
    plain_file = not path.exists() or path.is_file()  # and no pipe or device
    beside = path.with_name(f".{path.name}.{os.getpid()}.part") if plain_file else path
    ending = (signal.SIGTERM, signal.SIGHUP)
    minded = [each for each in ending if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, _stopped) for each in minded}
    try:
        with beside.open("wb") as file:
            yield file.write
            file.flush()
            if plain_file:
                os.fsync(file.fileno())
                beside.replace(path)
    except OSError as error:
        fix = "name a file that can be written, on a disk with room"
        raise CliError(f"cannot write {path}: {error.strerror}", Exit.FAILED, fix) from error
    finally:
        if plain_file:
            beside.unlink(missing_ok=True)
        for each, handler in before.items():
            signal.signal(each, handler)


def _stopped(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)
