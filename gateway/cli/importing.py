"""`berrygate import`: InfluxDB line protocol into history."""

import os
import stat
from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from gateway.cli.client import bulk
from gateway.cli.common import CliError, Exit, complain, count, options, plain, print_json
from gateway.cli.progress import Progress

_PIECE = 64 * 1024
_SHOWN = 20  # refused lines that are shown one by one
_FIXES = {
    "old": "raise history.retention, or see --precision",
    "tag": "--device-tag NAME if it names the device, --drop-tags to leave tags out",
    "too_many_devices": "raise limits.devices",
    "too_many_series": "raise limits.series",
    "too_many_in_all": "raise limits.total_series",
}


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    taking = commands.add_parser(
        "import", parents=[options()], help="InfluxDB line protocol into history"
    )
    taking.add_argument("file", metavar="FILE", help="line protocol; - is stdin")
    taking.add_argument(
        "--precision", choices=("ns", "us", "ms", "s"), default="ns", help="of its times; ns"
    )
    taking.add_argument(
        "--device-tag", metavar="NAME", default="", help="names the device; not the measurement"
    )
    taking.add_argument("--drop-tags", action="store_true", help="leave other tags out")
    taking.set_defaults(do=take)


def take(args: Namespace) -> int:
    """Import a file; 1 if lines of it were refused."""
    asked = {
        "precision": args.precision,
        "device_tag": args.device_tag,
        "drop_tags": args.drop_tags,
    }
    read, wrong = 0, list[dict[str, Any]]()
    progress = Progress("lines")
    with _opened(args.file) as (file, whole), bulk(args, "import", **asked) as gateway:
        try:
            while True:
                data = _next(file, args.file)
                told = gateway.send(data)
                read += len(data)
                wrong += told["wrong"][: _SHOWN - len(wrong)]
                if not data:
                    break
                progress(told["lines"], read, read / whole if whole else None)
        except BaseException:
            progress.clear()
            complain("the import is not complete; it may be started again, nothing comes twice")
            raise
        finally:
            progress.clear()
    return _say(args, told, wrong)


def _say(args: Namespace, told: dict[str, Any], wrong: list[dict[str, Any]]) -> int:
    if args.json:
        print_json({**told, "wrong": wrong})
    else:
        known = f", {count(told['known'])} were there already" if told["known"] else ""
        print(f"{count(told['lines'])} lines: {count(told['stored'])} reports stored{known}")
        for line in wrong:
            complain(f"line {line['line']}: {plain(line['detail'])}")
        if told["refused"]:
            each = ", ".join(f"{count(n)} {reason}" for reason, n in told["reasons"].items())
            fixes = [_FIXES[reason] for reason in told["reasons"] if reason in _FIXES]
            complain(f"{count(told['refused'])} lines refused: {each}", fix="; ".join(fixes))
    return Exit.FAILED if told["refused"] else Exit.OK


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], int]]:
    """The file, and how large it is; 0 where that cannot be told. Raises CliError."""
    try:
        # Not buffered: what a pipe has is passed on at once.
        where = 0 if name == "-" else name
        file = open(where, "rb", buffering=0, closefd=name != "-")  # noqa: SIM115
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}", Exit.USAGE) from error
    with file:
        state = os.fstat(file.fileno())
        yield file, state.st_size if stat.S_ISREG(state.st_mode) else 0


def _next(file: IO[bytes], name: str) -> bytes:
    try:
        return file.read(_PIECE)
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}", Exit.USAGE) from error
