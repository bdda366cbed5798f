"""`berrygate devices command` and `commands`: what devices are told, and what became of it."""

import json
from argparse import Namespace, _SubParsersAction
from collections.abc import Sequence
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import CliError, Exit, ago, options, plain, print_json, table

_WAIT = "25s"


def add(actions: "_SubParsersAction[Any]", complete: Any) -> None:
    """Add the actions. complete: device ids, for the shell."""
    shared = [options()]
    telling = actions.add_parser("command", parents=shared, help="have a device do something")
    telling.add_argument("id", metavar="ID", help="the device").completer = complete
    telling.add_argument("name", metavar="NAME", help="what")
    telling.add_argument(
        "args", metavar="ARG=VALUE", nargs="*", help='such as value=21; or one {"value": 21}'
    )
    telling.add_argument("--expires", metavar="WHEN", help="too late after: 30s, or epoch ms (1m)")
    telling.add_argument("--key", help="an id of yours: with the same it is done once only")
    telling.add_argument("--wait", default=_WAIT, help=f"how long for the outcome ({_WAIT})")
    telling.set_defaults(do=command)
    telling = actions.add_parser("commands", parents=shared, help="what a device can be told")
    telling.add_argument("id", metavar="ID", help="the device").completer = complete
    telling.add_argument("--limit", type=int, default=10, help="the most that were told (10)")
    telling.set_defaults(do=show)


def command(args: Namespace) -> int:
    """Have a device do something."""
    asked: dict[str, Any] = {"args": arguments(args.args), "wait": args.wait}
    if args.expires:
        asked["expires"] = int(args.expires) if args.expires.isdecimal() else args.expires
    if args.key:
        asked["id"] = args.key
    found = ask(args, "command", device=args.id, name=args.name, **asked)
    if args.json:
        print_json(found)
    else:
        _told(found)
    return Exit.OK if found["status"] == "ok" else Exit.FAILED


def _told(found: dict[str, Any]) -> None:
    again = "  (it had come before, and was not done again)" if found["repeated"] else ""
    print(f"{found['status']}{again}")
    if found["error"]:
        print(f"  {plain(found['error'])}")
    if found["result"] is not None:
        result = found["result"]
        print(f"  {plain(result if isinstance(result, str) else json.dumps(result))}")
    if found["status"] in ("accepted", "executing"):
        print(f"  its outcome later: berrygate devices commands {found['device']}")


def show(args: Namespace) -> int:
    """What a device can be told, and what it was told."""
    found = ask(args, "commands", device=args.id, limit=args.limit)
    if args.json:
        print_json(found)
        return Exit.OK
    if not found["takes"]:
        print(plain(found["why"]))
    elif found["schemas"] is None:
        print(f"{plain(args.id)} takes commands; which ones its source does not know")
    elif not found["schemas"]:
        print(f"{plain(args.id)} has no commands")
    else:
        table(["COMMAND", "ARGUMENTS"], [_known(*each) for each in found["schemas"].items()])
    if found["commands"]:
        print()
        rows = [
            [ago(each["received"]), plain(each["name"]), plain(json.dumps(each["args"])),
             each["status"], plain(each["error"])]
            for each in found["commands"]
        ]  # fmt: skip
        table(["ASKED", "COMMAND", "ARGUMENTS", "STATUS", "ERROR"], rows)
    return Exit.OK


def _known(name: str, schema: dict[str, Any]) -> list[str]:
    members = schema.get("properties", {})
    needed = schema.get("required", ())
    shown = [key if key in needed else f"[{key}]" for key in members]
    return [plain(name), plain(" ".join(shown)) or "-"]


def arguments(given: Sequence[str]) -> dict[str, Any]:
    """`value=21 mode=auto`, or one JSON object. Raises CliError."""
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        try:
            found = json.loads(given[0])
        except ValueError as error:
            raise CliError(f"{given[0]}: {error}", Exit.USAGE) from error
        return dict(found)
    pairs = [each.partition("=") for each in given]
    for (name, sign, _), whole in zip(pairs, given, strict=True):
        if not (name and sign):
            raise CliError(f'"{whole}" is no argument', Exit.USAGE, "write NAME=VALUE")
    return {name: value_of(text) for name, _, text in pairs}


def value_of(text: str) -> Any:
    """A number, true, false, null, a list or an object as in JSON; else the text."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text
