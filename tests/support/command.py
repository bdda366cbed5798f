"""The command line as its users start it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Command:
    """What came of a command."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what decides about configuration, logs and colour."""
    ours = ("BERRYGATE_", "NO_COLOR", "JOURNAL_STREAM", "INVOCATION_ID", "RUNTIME_DIRECTORY")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"PYTHONPATH": str(Path.cwd()), "TZ": "UTC"} | more


def run(*arguments: str, **environ: str) -> Command:
    """`berrygate` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Command(done.returncode, done.stdout, done.stderr)
