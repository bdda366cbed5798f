"""`berrygate doctor`: what is wrong here, and what to do about it."""

import sys
import textwrap
from argparse import Namespace, _SubParsersAction
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.client import candidates
from gateway.cli.common import CliError, Exit, colored, options, plain, print_json

if TYPE_CHECKING:
    from gateway.doctor.findings import Finding, Scene

_WIDTH = 79
_INDENT = 4
_LOOKS = {"OK": "GOOD", "WARN": "WARNING", "FAIL": "bad", "SKIP": "dim"}


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    asking = commands.add_parser(
        "doctor",
        parents=[options()],
        help="look at everything that can be wrong; exit code 1 where something is",
    )
    asking.add_argument(
        "--bundle", type=Path, metavar="FILE.tar.gz", help="also write what helps others to help"
    )
    asking.add_argument("--force", action="store_true", help="overwrite FILE.tar.gz")
    asking.set_defaults(do=doctor)


def doctor(args: Namespace) -> int:
    """Look, say, and where it is wanted write it down; 1 if anything failed."""
    import asyncio

    from gateway.config import find
    from gateway.doctor.bundle import check_place
    from gateway.doctor.examination import examine, report
    from gateway.doctor.gateway import look

    if args.bundle is not None:
        check_place(args.bundle, args.force)
    scene = look(find(args.config), _sockets(args))
    findings = asyncio.run(examine(scene))
    told = report(findings)
    if args.json:
        print_json(told)
    else:
        print("\n".join(lines(findings)))
    if args.bundle is not None:
        _write(args, scene, findings)
    return Exit.OK if told["ok"] else Exit.FAILED


def _sockets(args: Namespace) -> list[Path]:
    from gateway.config import InvalidConfig

    try:
        return candidates(args)
    except InvalidConfig:  # which the checks will say
        return []


def lines(findings: "list[Finding]") -> list[str]:
    """For people, at most 79 columns wide."""
    told = []
    for group, members in groupby(findings, key=lambda finding: finding.check.partition(".")[0]):
        told.append(colored(group, "bold"))
        for finding in members:
            told += _finding(finding)
    counts = {state: sum(f.state == state for f in findings) for state in _LOOKS}
    told += ["", ", ".join(f"{number} {state}" for state, number in counts.items() if number)]
    return told


def _finding(finding: "Finding") -> list[str]:
    thing = finding.check.partition(".")[2]
    name = " ".join(filter(None, (thing, plain(finding.subject))))
    text = f"{name}: {plain(finding.seen)}" if name else plain(finding.seen)
    mark = colored(f"{finding.state:<4}", _LOOKS[finding.state])
    head, *rest = _wrapped(text, _INDENT + 3)
    told = [f"  {mark} {head.strip()}", *rest]
    if finding.fix:
        head, *rest = _wrapped(f"fix: {plain(finding.fix)}", _INDENT + 3)
        told += [head, *rest]
    return told


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent,
        break_on_hyphens=False,
    ) or [""]  # fmt: skip


def _write(args: Namespace, scene: "Scene", findings: "list[Finding]") -> None:
    from gateway.doctor.bundle import write

    try:
        write(args.bundle, scene, findings, "\n".join(lines(findings)), args.force)
    except OSError as error:
        why = error.strerror or str(error)
        fix = "name a file in a directory that you may write to"
        raise CliError(f"cannot write {args.bundle}: {why}", Exit.FAILED, fix) from error
    print(f"written: {args.bundle}; look into it before you send it on", file=sys.stderr)
