"""`berrygate tail` and `berrygate query`: readings as they arrive, and as they were."""

import json
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask, follow
from gateway.cli.common import CliError, Exit, clock, colored, options, plain, print_json, table
from gateway.cli.devices import complete

AGGREGATES = ("avg", "min", "max", "sum", "count", "last")


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the commands."""
    shared = [options()]
    tailing = commands.add_parser("tail", parents=shared, help="readings as they arrive")
    pattern = tailing.add_argument(
        "filter", nargs="?", default="*", metavar="FILTER", help="a shell pattern on device ids"
    )
    pattern.completer = complete
    tailing.set_defaults(do=tail)

    asking = commands.add_parser("query", parents=shared, help="history of one metric")
    asking.add_argument("device", metavar="DEVICE").completer = complete
    metric = asking.add_argument("metric", metavar="METRIC")
    metric.completer = _complete_metric
    when = "ISO 8601, epoch ms, now, or a time ago such as -24h"
    asking.add_argument("--start", default="-24h", help=f"{when}; default %(default)s")
    asking.add_argument("--end", default="now", help="as --start; default %(default)s")
    asking.add_argument("--points", type=int, default=100, help="at most; default %(default)s")
    asking.add_argument("--aggregate", choices=AGGREGATES, help="one value for each bucket of time")
    asking.set_defaults(do=query)


def _complete_metric(parsed_args: Namespace, **_: Any) -> list[str]:
    try:
        found = ask(parsed_args, "series", device=parsed_args.device)
        return [series["metric"] for series in found]
    except CliError:
        return []


def tail(args: Namespace) -> int:
    """Print readings until Ctrl-C."""
    for reading in follow(args, "tail", filter=args.filter):
        # Flushed line by line: who pipes this into something waits for it.
        if args.json:
            print(json.dumps(reading, ensure_ascii=False), flush=True)
            continue
        values = " ".join(f"{plain(name)}={plain(v)}" for name, v in reading["values"].items())
        marks = "".join(f" [{mark}]" for mark in _marks(reading))
        moment = colored(clock(reading["time"], "%H:%M:%S"), "dim")
        print(f"{moment}  {colored(reading['device'], 'bold')}  {values}{marks}", flush=True)
    return Exit.OK


def _marks(reading: dict[str, Any]) -> list[str]:
    marks = [mark for mark in ("late", "historical") if reading.get(mark)]
    return [*marks, "unsynced"] if reading.get("clock") == "unsynced" else marks


def query(args: Namespace) -> int:
    """Print a stretch of one series."""
    found = ask(
        args,
        "query",
        device=args.device,
        metric=args.metric,
        start=args.start,
        end=args.end,
        points=args.points,
        aggregate=args.aggregate,
    )
    if args.json:
        print_json(found)
    elif not found["points"]:
        print("no readings in this time")
    else:
        rows = [[clock(ms), plain(value)] for ms, value in found["points"]]
        table(["TIME", args.metric], rows)
    return Exit.OK
