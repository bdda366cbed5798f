"""Commands that need no running gateway: run, check, schema, version."""

import platform
from argparse import Namespace, _SubParsersAction
from dataclasses import asdict
from typing import Any

from gateway import __version__
from gateway.cli.common import Exit, options, print_json


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the commands."""
    shared = [options()]
    running = commands.add_parser("run", parents=shared, help="the gateway, in the foreground")
    running.add_argument("-v", "--verbose", action="count", default=0, help="log more")
    running.set_defaults(do=run)
    checking = commands.add_parser(
        "check", parents=shared, help="validate the configuration; all errors in one run"
    )
    checking.add_argument(
        "--store",
        action="store_true",
        help="read all stored data and say what of it is damaged; changes nothing",
    )
    checking.set_defaults(do=check)
    describing = commands.add_parser(
        "schema", parents=shared, help="the configuration's JSON schema"
    )
    describing.set_defaults(do=schema)
    telling = commands.add_parser("version", parents=shared, help="the version of this program")
    telling.set_defaults(do=version)


def run(args: Namespace) -> int:
    """Run the gateway until it is told to stop."""
    from gateway.core.collector import rest

    rest()  # until everything is there
    from gateway import logs
    from gateway.config import find, load

    file = find(args.config)
    config = load(file)
    logs.configure(args.verbose)
    from gateway import app

    return app.run(config, file)


def check(args: Namespace) -> int:
    """Say whether the configuration can be used, and everything that is wrong with it."""
    if args.store:
        from gateway.cli.store import check as check_store

        return check_store(args)
    from gateway.config import InvalidConfig, find, load

    path = find(args.config)
    shown = "the built-in configuration" if path is None else str(path)
    try:
        config = load(path)
    except InvalidConfig as error:
        if not args.json:
            raise
        problems = [asdict(problem) for problem in error.problems]
        print_json({"ok": False, "file": shown, "errors": problems})
        return Exit.USAGE
    devices, bridges = list(config.named_devices), list(config.named_bridges)
    if args.json:
        data = str(config.gateway.data_dir)
        print_json(
            {"ok": True, "file": shown, "data_dir": data, "devices": devices, "bridges": bridges}
        )
    else:
        print(f"ok: {shown}")
        print(f"  devices  {', '.join(devices) or '-'}")
        print(f"  bridges  {', '.join(bridges) or '-'}")
    return Exit.OK


def schema(args: Namespace) -> int:
    """Print the configuration's JSON schema."""
    from gateway.config import schema as describe

    print_json(describe())
    return Exit.OK


def version(args: Namespace) -> int:
    """Print the version."""
    if args.json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print(f"berrygate {__version__}")
    return Exit.OK
