"""`berrygate devices state`, `desire` and `withdraw`: what devices are to be, and what they are."""

import json
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.commands import value_of
from gateway.cli.common import Exit, options, plain, print_json, table


def add(actions: "_SubParsersAction[Any]", complete: Any) -> None:
    """Add the actions. complete: device ids, for the shell."""
    shared = [options()]
    showing = actions.add_parser("state", parents=shared, help="desired and reported state")
    showing.set_defaults(do=show)
    desiring = actions.add_parser("desire", parents=shared, help="what a key is to be")
    desiring.set_defaults(do=desire)
    withdrawing = actions.add_parser("withdraw", parents=shared, help="nothing is desired of a key")
    withdrawing.set_defaults(do=withdraw)
    for action in (showing, desiring, withdrawing):
        action.add_argument("id", metavar="ID", help="the device").completer = complete
    for action in (desiring, withdrawing):
        action.add_argument("key", metavar="KEY")
    desiring.add_argument("value", metavar="VALUE", help="JSON; what is none is a text")
    for action in (desiring, withdrawing):
        action.add_argument(
            "--version", type=int, help="only if the key has this version now (0: none)"
        )


def show(args: Namespace) -> int:
    """Show state."""
    return _told(args, ask(args, "state", device=args.id))


def desire(args: Namespace) -> int:
    """Desire something."""
    value = value_of(args.value)
    return _told(
        args, ask(args, "desire", device=args.id, key=args.key, value=value, **_version(args))
    )


def withdraw(args: Namespace) -> int:
    """Desire it no more."""
    return _told(args, ask(args, "withdraw", device=args.id, key=args.key, **_version(args)))


def _version(args: Namespace) -> dict[str, int]:
    return {} if args.version is None else {"version": args.version}


def _told(args: Namespace, found: dict[str, Any]) -> int:
    if args.json:
        print_json(found)
        return Exit.OK
    desired, reported = found["desired"], found["reported"]
    if not (desired or reported):
        print("nothing is desired, and nothing was reported")
        return Exit.OK
    rows: list[list[tuple[str, str] | str]] = []
    for key in sorted(desired.keys() | reported.keys()):
        wanted, said = desired.get(key), reported.get(key)
        shown = "-" if said is None else plain(json.dumps(said["value"]))
        rows.append(
            [
                plain(key),
                "-" if wanted is None else plain(json.dumps(wanted["value"])),
                str(wanted["version"]) if wanted else "-",
                (shown, "bad") if key in found["differing"] else shown,
            ]
        )
    table(["KEY", "DESIRED", "VERSION", "REPORTED"], rows)
    return Exit.OK
