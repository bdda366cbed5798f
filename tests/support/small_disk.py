"""A disk of a few megabytes that can be filled, made read-only and emptied again (needs root)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fill = path / "somebody-elses"

    def fill(self, leave: int = 0) -> None:
        """Take all space but about `leave` bytes."""
        with self._fill.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4_096))
            except OSError:
                pass
            file.truncate(max(file.tell() - leave, 0))

    def free(self) -> None:
        """Give it back."""
        self._fill.unlink(missing_ok=True)

    def read_only(self, on: bool) -> None:
        """Remount."""
        self._mount("-o", "remount,ro" if on else "remount,rw")

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.path)], check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, size: str = "8m") -> Iterator[SmallDisk]:
    """A disk for a test; skips where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)
