"""`berrygate devices credentials`: how each device is let in to the embedded broker."""

import csv
import sys
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import Exit, options, plain, print_json
from gateway.cli.managing import confirmed


def add(actions: "_SubParsersAction[Any]", complete: Any) -> None:
    """Add the action. complete: device ids, for the shell."""
    shared = [options()]
    whole = actions.add_parser(
        "credentials", parents=shared, help="users and passwords of devices on our broker"
    )
    whole.set_defaults(do=show)
    what = whole.add_subparsers(dest="what", metavar="list | issue | rotate | revoke")
    listing = what.add_parser("list", parents=shared, help="who has them (the default)")
    listing.set_defaults(do=show)
    issuing = what.add_parser("issue", parents=shared, help="new ones, shown this once")
    issuing.add_argument("ids", metavar="ID", nargs="+").completer = complete
    issuing.set_defaults(do=issue)
    rotating = what.add_parser("rotate", parents=shared, help="another password; the old one ends")
    rotating.add_argument("ids", metavar="ID", nargs="+").completer = complete
    rotating.set_defaults(do=rotate)
    revoking = what.add_parser("revoke", parents=shared, help="out at once, and in no more")
    revoking.add_argument("ids", metavar="ID", nargs="+").completer = complete
    revoking.add_argument("--yes", action="store_true", help="do not ask")
    revoking.set_defaults(do=revoke)
    for action in (listing, issuing, rotating, revoking):
        action.add_argument("--source", help="keys of this CoAP source, not of our broker")


def show(args: Namespace) -> int:
    """List who has credentials."""
    source = getattr(args, "source", None)
    found = ask(args, "credentials_keys", source=source) if source else ask(args, "broker")["users"]
    if args.json:
        print_json(found)
    else:
        print("\n".join(map(plain, found)) or "none: berrygate devices credentials issue ID")
    return Exit.OK


def issue(args: Namespace) -> int:
    """Issue credentials."""
    if args.source:
        return _issue_keys(args, renew=False)
    found = ask(args, "credentials_issue", names=args.ids)
    if not args.json and not found["listeners"]:
        print("nobody on the network can use them yet: berrygate broker open", file=sys.stderr)
    return _passwords(args, found["issued"])


def rotate(args: Namespace) -> int:
    """Give devices other passwords, one after the other."""
    if args.source:
        return _issue_keys(args, renew=True)
    news = [ask(args, "broker_user_password", name=each)["new"] for each in args.ids]
    return _passwords(args, {new["user"]: new["password"] for new in news})


def revoke(args: Namespace) -> int:
    """Revoke credentials."""
    confirmed(args, f"let {', '.join(args.ids)} in no more?")
    found = ask(args, "credentials_revoke", names=args.ids, **_source(args))
    if args.json:
        print_json(found["users"])
    else:
        print(f"revoked: {', '.join(map(plain, args.ids))}")
    return Exit.OK


def _source(args: Namespace) -> dict[str, str]:
    return {"source": args.source} if args.source else {}


def _issue_keys(args: Namespace, renew: bool) -> int:
    """Of OSCORE, in hexadecimal. client_id: the device's Sender ID."""
    found = ask(args, "credentials_issue", names=args.ids, renew=renew, source=args.source)
    keys = found["issued"]
    if args.json:
        print_json(keys)
        return Exit.OK
    columns = ["client_id", "server_id", "secret", "salt"]
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["id", *columns, "path"])
    rows.writerows(
        [name, *(key[column] for column in columns), f"telemetry/{name}"]
        for name, key in keys.items()
    )
    return Exit.OK


def _passwords(args: Namespace, passwords: dict[str, str]) -> int:
    if args.json:
        print_json(passwords)
        return Exit.OK
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["id", "password", "topic"])
    rows.writerows(
        [name, password, f"devices/{name}/telemetry"] for name, password in passwords.items()
    )
    return Exit.OK
