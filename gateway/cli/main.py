"""From arguments to exit code. Imports next to nothing: `--help` and completion must be instant."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from gateway.cli import (
    alerts,
    bench,
    bridges,
    broker,
    demo,
    devices,
    doctor,
    export,
    importing,
    local,
    readings,
    reload,
    status,
    top,
)
from gateway.cli.common import CliError, Exit, complain
from gateway.core.errors import BerrygateError, ConfigError

_MODULES = (
    local, demo, doctor, bench, status, top, alerts, reload, devices, bridges, broker, readings,
    export, importing,
)  # fmt: skip
_SERVES = ("run", "demo")  # commands that speak with others while they run
_TIMES = ("--start", "--end")
_AGO = re.compile(r"-\d")


class _Parser(argparse.ArgumentParser):
    """Errors look like all our errors; options are not guessed from their first letters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        complain(message, fix=f"see {self.prog} --help")
        self.exit(Exit.USAGE)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = _Parser(
        prog="berrygate",
        description="An MQTT-centric edge gateway.",
        epilog="Exit codes: 0 ok, 1 unhealthy or failed, 2 usage or configuration, "
        "3 cannot connect.",
    )
    whole.set_defaults(config=None, json=False)
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _MODULES:
        module.add(commands)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    whole = parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(whole)
    try:
        args = whole.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
        if args.command not in _SERVES:  # these need their sockets' errors; we stop for `head`
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        return int(args.do(args))
    except CliError as error:
        complain(str(error), fix=error.fix)
        return error.code
    except BerrygateError as error:
        return _explain(error)
    except KeyboardInterrupt:
        sys.stdout.flush()
        # Ended by the signal itself, so that a shell's loop around us stops as well.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        return 130


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--start -24h` as `--start=-24h`: argparse takes a value with a dash for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _TIMES and _AGO.match(argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _explain(error: BerrygateError) -> int:
    if not isinstance(error, ConfigError):
        complain(str(error), fix=error.fix)
        return Exit.FAILED
    from gateway.config.problems import InvalidConfig, render, wants_color

    if isinstance(error, InvalidConfig):
        print(render(error.problems, color=wants_color(sys.stderr)), file=sys.stderr)
    else:
        complain(str(error), fix=error.fix)
    return Exit.USAGE
