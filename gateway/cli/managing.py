"""`berrygate devices adopt`, `ignore`, `rename`, `tag`, `merge` and `forget`."""

import sys
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import CliError, Exit, options, plain, print_json

_DECISIONS = {
    "adopt": "it is one of ours",
    "ignore": "it is none of ours: what it says is counted and dropped",
}


def add(actions: "_SubParsersAction[Any]", complete: Any) -> None:
    """Add the actions. complete: device ids, for the shell."""
    shared = [options()]
    for name, text in _DECISIONS.items():
        deciding = actions.add_parser(name, parents=shared, help=text)
        deciding.add_argument("ids", metavar="ID", nargs="+", help="devices").completer = complete
        deciding.set_defaults(do=decide, call=f"device_{name}", name=name)
    renaming = actions.add_parser("rename", parents=shared, help="a name for people; the id stays")
    renaming.add_argument("id", metavar="ID").completer = complete
    renaming.add_argument("name", metavar="NAME", help='"" for none')
    renaming.set_defaults(do=rename)
    tagging = actions.add_parser("tag", parents=shared, help="its tags, in place of those it had")
    tagging.add_argument("id", metavar="ID").completer = complete
    tagging.add_argument("tags", metavar="TAG", nargs="*", help="none: it has no tags any more")
    tagging.set_defaults(do=tag)
    merging = actions.add_parser("merge", parents=shared, help="what comes of one is another's")
    merging.add_argument("id", metavar="OLD", help="is no more").completer = complete
    merging.add_argument("into", metavar="INTO", help="goes on").completer = complete
    merging.set_defaults(do=merge)
    forgetting = actions.add_parser(
        "forget", parents=shared, help="it is no more; one that speaks again is new"
    )
    forgetting.add_argument("id", metavar="ID").completer = complete
    forgetting.set_defaults(do=forget)
    for destroying in (merging, forgetting):
        destroying.add_argument("--yes", action="store_true", help="do not ask")


def decide(args: Namespace) -> int:
    """Adopt or ignore devices."""
    found = [ask(args, args.call, device=each) for each in args.ids]
    if args.json:
        print_json(found)
    else:
        for device in found:
            print(f"{device['id']}: {device['state']}")
    return Exit.OK


def rename(args: Namespace) -> int:
    """Give a device a name."""
    return _told(args, ask(args, "device_change", device=args.id, name=args.name))


def tag(args: Namespace) -> int:
    """Give a device tags."""
    return _told(args, ask(args, "device_change", device=args.id, tags=args.tags))


def merge(args: Namespace) -> int:
    """Merge a device into another."""
    confirmed(args, f"{args.id} is no more, and what comes of it is {args.into}'s. Go on?")
    return _told(args, ask(args, "device_merge", device=args.id, into=args.into))


def forget(args: Namespace) -> int:
    """Forget a device."""
    confirmed(args, f"forget {args.id}? Its history stays until it is too old.")
    gone = ask(args, "device_forget", device=args.id)
    if args.json:
        print_json(gone)
    else:
        print(f"{gone['id']} is forgotten")
    return Exit.OK


def confirmed(args: Namespace, question: str) -> None:
    """Return if that is wanted. Raises CliError if not, or where nobody can be asked."""
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise CliError("nobody is there to be asked", Exit.USAGE, "add --yes")
    print(f"{question} [y/N] ", end="", flush=True, file=sys.stderr)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CliError("nothing was done", Exit.FAILED)


def _told(args: Namespace, device: dict[str, Any]) -> int:
    if args.json:
        print_json(device)
        return Exit.OK
    name, tags = device.get("name"), ", ".join(device.get("tags", ()))
    parts = [device["id"], *([f'"{name}"'] if name else []), *([tags] if tags else [])]
    print("  ".join(map(plain, parts)))
    return Exit.OK
