"""`berrygate check --store`: is everything that is kept whole?"""

import sys
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from gateway.cli.client import data_dir
from gateway.cli.common import CliError, Exit, colored, count, plain, print_json
from gateway.store.integrity import Report
from gateway.store.integrity import check as look

_EVERY = 0.1  # s between two signs of progress


def check(args: Namespace) -> int:
    """Read everything in the data directory; say what is damaged and what to do."""
    directory = data_dir(args)
    try:
        report = look(directory, _Progress())
    except FileNotFoundError as error:
        raise CliError(
            f"{directory} is not there",
            Exit.USAGE,
            fix="set gateway.data_dir, or start the gateway",
        ) from error
    finally:
        _Progress.clear()
    if args.json:
        print_json({"ok": not report.findings, "directory": str(directory), **asdict(report)})
    else:
        _show(directory, report)
    return Exit.FAILED if report.findings else Exit.OK


class _Progress:
    """One line on a terminal that is written over."""

    def __init__(self) -> None:
        self._shown = 0.0

    def __call__(self, what: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._shown < _EVERY:
            return
        self._shown = now
        share = 100 * done // max(whole, 1)
        print(f"\r\x1b[K{plain(what)} {share} %", end="", file=sys.stderr, flush=True)

    @staticmethod
    def clear() -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(directory: Path, report: Report) -> None:
    print(f"damaged: {directory}" if report.findings else f"ok: {directory}")
    journal = (
        f"{count(report.segments)} segments, {count(report.blocks)} blocks, "
        f"{count(report.readings)} readings"
    )
    print(f"  journal  {journal}")
    samples = f"{count(report.chunks)} chunks, {count(report.samples)} samples"
    print(f"  history  {samples}, {count(report.rollups)} rollups")
    print(f"  state    {count(report.devices)} devices, {count(report.dead_letters)} dead letters")
    for finding in report.findings:
        print(f"{colored('damaged', 'bad')} {plain(finding.file)}: {plain(finding.problem)}")
        print(f"    fix: {finding.fix}")
    for note in report.notes:
        print(f"note: {plain(note)}")
