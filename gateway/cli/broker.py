"""`berrygate broker`: let devices on the network in, and say what they need for it."""

import shlex
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import CliError, Exit, options, plain, print_json, table

_TLS_PORT, _PLAIN_PORT = 8883, 1884
_ANY = ("0.0.0.0", "::")


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the commands."""
    shared = [options()]
    broker = commands.add_parser(
        "broker", parents=shared, help="let devices on the network in to the embedded broker"
    )
    broker.set_defaults(do=show)
    actions = broker.add_subparsers(dest="action", metavar="show | open | close | users | ca")
    shown = actions.add_parser("show", parents=shared, help="who may come in, and where")
    shown.set_defaults(do=show)
    _add_open(actions, shared)
    closing = actions.add_parser("close", parents=shared, help="close what was opened")
    closing.set_defaults(do=close)
    authority = actions.add_parser(
        "ca", parents=shared, help="print the certificate that devices check the broker by"
    )
    authority.set_defaults(do=ca)
    _add_users(actions, shared)


def _add_open(actions: "_SubParsersAction[Any]", shared: list[Any]) -> None:
    opening = actions.add_parser("open", parents=shared, help="listen for devices on the network")
    opening.add_argument("--host", default=_ANY[0], help="address to listen on; default all")
    opening.add_argument(
        "--port", type=int, help=f"default {_TLS_PORT}, or {_PLAIN_PORT} with --no-tls"
    )
    opening.add_argument(
        "--no-tls", action="store_true", help="not encrypted: whoever listens in reads passwords"
    )
    opening.add_argument("--user", metavar="NAME", help="the first user; default device-1")
    opening.set_defaults(do=open_)


def _add_users(actions: "_SubParsersAction[Any]", shared: list[Any]) -> None:
    users = actions.add_parser("users", parents=shared, help="who may come in")
    users.set_defaults(do=list_users)
    what = users.add_subparsers(
        dest="what", metavar="list | add NAME | remove NAME | password NAME"
    )
    listing = what.add_parser("list", parents=shared, help="their names (the default)")
    listing.set_defaults(do=list_users)
    helps = {
        "add": "a user more; the password is shown once",
        "remove": "a user less",
        "password": "another password, shown once; the old one ends at once",
    }
    for name, text in helps.items():
        action = what.add_parser(name, parents=shared, help=text)
        action.add_argument("name", metavar="NAME", help="a-z, 0-9, _ and -")
        action.set_defaults(do=_user, call=f"broker_user_{name}")


def show(args: Namespace) -> int:
    """Show listeners and users."""
    return _told(args, ask(args, "broker"))


def open_(args: Namespace) -> int:
    """Open a listener."""
    port = args.port or (_PLAIN_PORT if args.no_tls else _TLS_PORT)
    more = {"user": args.user} if args.user else {}
    return _told(
        args, ask(args, "broker_open", host=args.host, port=port, tls=not args.no_tls, **more)
    )


def close(args: Namespace) -> int:
    """Close it again."""
    return _told(args, ask(args, "broker_close"))


def ca(args: Namespace) -> int:
    """Print the authority's certificate."""
    found = ask(args, "broker")["ca"]
    if found is None:
        raise CliError("there is no certificate yet", Exit.FAILED, "berrygate broker open")
    if args.json:
        print_json(found)
    else:
        print(found["pem"], end="")
    return Exit.OK


def list_users(args: Namespace) -> int:
    """List the users."""
    found = ask(args, "broker")["users"]
    if args.json:
        print_json(found)
        return Exit.OK
    print("\n".join(map(plain, found)) or "no users yet: berrygate broker users add NAME")
    return Exit.OK


def _user(args: Namespace) -> int:
    return _told(args, ask(args, args.call, name=args.name))


def _told(args: Namespace, found: dict[str, Any]) -> int:
    if args.json:
        print_json(found)
        return Exit.OK
    if found["listeners"]:
        rows = [
            [each["host"], str(each["port"]), "yes" if each["tls"] else "NO", each["from"],
             (plain(each["trouble"]), "bad") if each["trouble"] else "open"]
            for each in found["listeners"]
        ]  # fmt: skip
        table(["HOST", "PORT", "TLS", "FROM", "STATE"], rows)
    else:
        print("closed to the network: berrygate broker open")
    print(f"users       {', '.join(map(plain, found['users'])) or 'none'}")
    if found["new"]:
        _needed(found)
    elif found["ca"] and any(each["tls"] for each in found["listeners"]):
        _authority(found["ca"])
    return Exit.OK


def _needed(found: dict[str, Any]) -> None:
    """What the device of a new user needs."""
    new = found["new"]
    live = [each for each in found["listeners"] if not each["trouble"]]
    print(f"\nuser        {new['user']}")
    print(f"password    {new['password']}   (shown this once)")
    print(f"publish to  devices/{new['user']}/telemetry")
    if not live:
        return
    listener = next((each for each in live if each["tls"]), live[0])
    host = _address(listener["host"], found["addresses"])
    print(f"address     {host}, or {plain(found['host'])}.local")
    print(f"port        {listener['port']}{' (TLS)' if listener['tls'] else ' (NOT encrypted)'}")
    command = ["mosquitto_pub", "-h", host, "-p", str(listener["port"])]
    if listener["tls"]:
        _authority(found["ca"])
        command += ["--cafile", found["ca"]["file"]]
    command += [
        "-u", new["user"], "-P", new["password"],
        "-q", "1", "-t", f"devices/{new['user']}/telemetry", "-m", '{"value": 21.5}',
    ]  # fmt: skip
    print(f"\ntry it:\n{shlex.join(command)}")


def _authority(authority: dict[str, Any]) -> None:
    print(f"CA file     {authority['file']}   (berrygate broker ca prints it)")
    print(f"SHA-256     {authority['fingerprint']}")


def _address(host: str, addresses: list[str]) -> str:
    """What a device connects to where the broker listens on `host`."""
    if host not in _ANY:
        return host
    fitting = [each for each in addresses if host == "::" or ":" not in each]
    return fitting[0] if fitting else "127.0.0.1"
