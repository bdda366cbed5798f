"""What checks are about, and what they say."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.config import Config
from gateway.config.models import default_data_dir
from gateway.config.problems import Problem


class State(StrEnum):
    """How a thing is. SKIP: it cannot be told here, or there is nothing to look at."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. check: its stable name, `<group>.<thing>`; subject: which one, where
    there are several; fix: what to do, never empty for WARN and FAIL."""

    check: str
    state: State
    seen: str
    fix: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of the control socket."""

    pid: int
    uid: int


@dataclass(slots=True)
class Scene:
    """What the checks look at. path: the configuration file, if there is one. config: None where
    it cannot be used; `problems` says why. status: what the running gateway says of itself.
    unreachable: why it could not be asked, and what to do. root: where the file system begins;
    another one in tests."""

    path: Path | None = None
    config: Config | None = None
    problems: Sequence[Problem] = ()
    status: dict[str, Any] | None = None
    unreachable: tuple[str, str] = ("", "")
    peer: Peer | None = None
    socket: Path | None = None
    secret_files: tuple[Path, ...] = ()
    root: Path = field(default_factory=lambda: Path("/"))

    @property
    def data_dir(self) -> Path:
        """Where the gateway's data lies."""
        return self.config.gateway.data_dir if self.config else default_data_dir()


def ok(check: str, seen: str, subject: str = "") -> Finding:
    """All is well."""
    return Finding(check, State.OK, seen, "", subject)


def warn(check: str, seen: str, fix: str, subject: str = "") -> Finding:
    """It works, and may not for long."""
    return Finding(check, State.WARN, seen, fix, subject)


def fail(check: str, seen: str, fix: str, subject: str = "") -> Finding:
    """It does not work."""
    return Finding(check, State.FAIL, seen, fix, subject)


def skip(check: str, seen: str, subject: str = "") -> Finding:
    """Nothing to look at."""
    return Finding(check, State.SKIP, seen, "", subject)


def output(*command: str, timeout: float = 3.0, text: str | None = None) -> str | None:
    """What a program prints (stdout, then stderr); None where there is no such program or it does
    not end. Never raises, never asks anything of a terminal."""
    program = shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=text or "", capture_output=True, text=True, errors="replace",
            timeout=timeout, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout + done.stderr


def content(path: Path) -> str | None:
    """A small file's text; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def matching(directory: Path, pattern: str) -> list[Path]:
    """Files in a directory, in order; none where it may not be looked into."""
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def is_there(path: Path) -> bool:
    """Whether `path` is there, as far as it can be told."""
    try:
        return path.exists()
    except OSError:
        return False
