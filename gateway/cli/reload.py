"""`berrygate reload`: from the configuration in use to the one in the file."""

from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import CliError, Exit, duration, options, print_json


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    reloading = commands.add_parser(
        "reload",
        parents=[options()],
        help="read the configuration again; only what changed is restarted",
        description="Read the configuration again. Only what changed is restarted; a configuration "
        "that cannot be used is refused, and the one in use stays.",
    )
    choice = reloading.add_mutually_exclusive_group()
    choice.add_argument(
        "--confirm",
        metavar="TIME",
        help="go back after this long (such as 60s) unless `berrygate reload --keep` is called",
    )
    choice.add_argument("--keep", action="store_true", help="keep the configuration on trial")
    reloading.set_defaults(do=reload)


def reload(args: Namespace) -> int:
    """Reload, or keep what is on trial."""
    if args.keep:
        answer = ask(args, "keep")
        print_json(answer) if args.json else print("kept")
        return Exit.OK
    answer = ask(args, "reload", confirm=args.confirm)
    if args.json:
        print_json(answer)
        return Exit.OK if answer["ok"] else Exit.USAGE
    if not answer["ok"]:
        raise CliError(_problems(answer["problems"]), Exit.USAGE)
    for line in _lines(answer["changes"]):
        print(line)
    if answer["confirm"]:
        print(
            f"On trial: in {duration(answer['confirm'])} the one before is in use again, "
            "unless you run: berrygate reload --keep"
        )
    return Exit.OK


def _problems(problems: list[dict[str, Any]]) -> str:
    from gateway.config import Problem, render

    return "refused, the configuration in use stays\n\n" + render([Problem(**p) for p in problems])


def _lines(changes: dict[str, Any]) -> list[str]:
    lines = [
        f"{kind[:-1]} {name}: {what}"
        for kind in ("devices", "bridges")
        for what in ("removed", "changed", "added")
        for name in changes[kind][what]
    ]
    lines += [f"{section}: changed" for section in changes["sections"]]
    return lines or ["nothing has changed"]
