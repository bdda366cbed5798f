"""`berrygate bench`: what this machine does with Berrygate."""

import argparse
import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.common import Exit, colored, options, plain, print_json

if TYPE_CHECKING:
    from gateway.bench.figures import Report

_SECONDS, _RATES, _DEVICES = (5, 3_600), (1, 50_000), (1, 10_000)


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    measuring = commands.add_parser(
        "bench",
        parents=[options()],
        help="measure what this machine does with Berrygate; about 30 s",
        description="Run a gateway of its own with publisher, broker and sink on this machine, "
        "measure it, and leave nothing behind. A running gateway is not touched, but shares the "
        "machine: stop it for figures that say something.",
    )
    measuring.add_argument(
        "--seconds", type=_between(*_SECONDS), default=30, help="about how long in all (30)"
    )
    measuring.add_argument(
        "--rate", type=_between(*_RATES), default=1_000, help="messages a second, paced (1000)"
    )
    measuring.add_argument(
        "--devices", type=_between(*_DEVICES), default=100, help="how many send them (100)"
    )
    measuring.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="a directory on the disk to measure; default: where temporary files are",
    )
    measuring.set_defaults(do=bench)


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"a number from {least} to {most}")
        return found

    return number


def bench(args: Namespace) -> int:
    """Measure and print; 1 if something was lost."""
    from gateway.bench.run import Options, run

    try:
        report = run(Options(args.seconds, args.rate, args.devices, args.data_dir, _tell))
    finally:
        _tell("")
    if args.json:
        print_json(report.as_dict())
    else:
        _show(report)
    return Exit.FAILED if report.lost else Exit.OK


def _tell(text: str) -> None:
    """What is being done: one line on a terminal that is written over."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _show(report: "Report") -> None:
    machine, setting = report.machine, report.setting
    print(
        f"Berrygate {setting['version']} on {plain(machine['model'] or machine['machine'])}: "
        f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}"
    )
    print(
        f"{setting['devices']:,} devices, messages of {setting['values']} values, "
        f"QoS {setting['qos']}; data on {plain(machine['file_system'])} ({plain(machine['disk'])})"
    )
    print(f"paced: {setting['rate']:,} messages/s; saturated: as fast as it goes\n")
    titles = max(len(figure.title) for figure in report.figures)
    for figure in report.figures:
        value = f"{_number(figure.value):>7} {figure.unit:3}"
        if figure.value is None:
            print(f"{figure.title:{titles}}  {value}  not measured: {plain(figure.missing)}")
        else:
            look = "bad" if figure.key == "lost" and figure.value else "bold"
            print(f"{figure.title:{titles}}  {colored(value, look)}  {plain(figure.meaning)}")
    print(f"\nmessages at {', '.join(f'{p} {n:,}' for p, n in report.counts.items())}")
    for place, number in report.lost.items():
        print(colored(f"LOST {number:,} messages on the way to: {place}", "bad"))
    for note in report.notes:
        print(f"note: {plain(note)}")


def _number(value: float | None) -> str:
    """As many digits as say something."""
    if value is None:
        return "-"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
