"""`berrygate top`: the running gateway on one screen, each second anew."""

import argparse
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.common import options

_LEAST, _MOST = 0.2, 3600.0


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    watching = commands.add_parser(
        "top",
        parents=[options()],
        help="rates, stages, bridges and devices on one screen, live",
        description="The running gateway on one screen, each second anew. ? shows the keys. "
        "Where stdin or stdout is no terminal, one screen is printed.",
    )
    watching.add_argument(
        "--interval", type=_interval, default=1.0, help="seconds between two looks (1)"
    )
    watching.add_argument("--once", action="store_true", help="print one screen and end")
    watching.set_defaults(do=_top)


def _interval(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not _LEAST <= seconds <= _MOST:
        raise argparse.ArgumentTypeError(f"a number of seconds, {_LEAST:g} to {_MOST:g}")
    return seconds


def _top(args: Namespace) -> int:
    from gateway.cli.top.watching import top

    return top(args)
