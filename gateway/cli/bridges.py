"""`berrygate bridges`: how far each bridge has come."""

from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import Exit, count, duration, options, plain, print_json, table


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the commands."""
    shared = [options()]
    bridges = commands.add_parser("bridges", parents=shared, help="the bridges")
    bridges.set_defaults(do=show_all)
    actions = bridges.add_subparsers(dest="action", metavar="list")
    listing = actions.add_parser("list", parents=shared, help="all bridges (the default)")
    listing.set_defaults(do=show_all)


def show_all(args: Namespace) -> int:
    """List every bridge."""
    found = ask(args, "bridges")
    if args.json:
        print_json(found)
    elif not found:
        print("no bridges are configured")
    else:
        heads = ["NAME", "TYPE", "STATE", "BREAKER", "DELIVERED", "BEHIND", "OLDEST", "LAST ERROR"]
        table(heads, [_row(bridge) for bridge in found])
    return Exit.OK


def _row(bridge: dict[str, Any]) -> list[tuple[str, str] | str]:
    state = bridge["state"]
    oldest = bridge.get("oldest")
    return [
        bridge["name"],
        bridge["type"],
        state if state == "running" else (state, "bad"),
        plain(bridge.get("breaker")),
        count(bridge.get("delivered")),
        count(bridge.get("pending")),
        duration(oldest) if oldest else "-",
        plain(bridge.get("last_error")),
    ]
