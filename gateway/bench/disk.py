"""The disk that a directory lies on: what it is, what it has written, how long it takes."""

import os
import re
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 512  # whatever the device's own is; Documentation/block/stat
_BLOCK = 4096
_MOST = 200  # writes of one measurement
_SYNC = 20.0  # longest that a disk may take with what waits for it (s)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Disk:
    """Where a directory lies. device: major:minor of the block device, "" where there is none that
    is its own; why: then, why."""

    kind: str
    source: str
    device: str
    why: str = ""

    def written(self) -> int | None:
        """Bytes that the whole device was given to write, by everybody, so far."""
        if not self.device:
            return None
        try:
            fields = Path(f"/sys/dev/block/{self.device}/stat").read_text().split()
            return int(fields[6]) * _SECTOR
        except (OSError, ValueError, IndexError):
            return None


def disk_of(directory: Path) -> Disk:
    """The disk of `directory`, by the mounts of this process (proc_pid_mountinfo(5))."""
    kind, source = _mount(directory.resolve())
    number = directory.stat().st_dev
    if os.major(number) == 0 and source.startswith("/dev/"):
        with suppress(OSError):  # such as btrfs, whose files have numbers of their own
            number = Path(source).stat().st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    if os.major(number) and Path(f"/sys/dev/block/{device}/stat").exists():
        return Disk(kind, source, device)
    if kind in ("tmpfs", "ramfs"):
        return Disk(kind, source, "", f"{kind} is memory, not a disk; name one with --data-dir")
    return Disk(kind, source, "", f"{kind} has no block device of its own here")


def _mount(directory: Path) -> tuple[str, str]:
    """File system and source of the mount that `directory` is on."""
    best, found = -1, ("a file system", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        where = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields.split()[4]))
        if len(where.parts) >= best and directory.is_relative_to(where):
            kind, source = rest.split()[:2]
            best, found = len(where.parts), (kind, source)
    return found


def settle(directory: Path) -> None:
    """Have everything written that waits for this disk, so that it is counted where it belongs."""
    with suppress(OSError, subprocess.SubprocessError):
        command = ["sync", "-f", str(directory)]
        subprocess.run(command, timeout=_SYNC, check=False, stderr=subprocess.DEVNULL)


def sync_times(directory: Path, seconds: float) -> list[float]:
    """How long fdatasync takes after 4 KiB were written in a file that has its full size already,
    as the journal writes (s); as many as come in `seconds`. Raises OSError."""
    found: list[float] = []
    path = directory / "sync"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(file, 0, _MOST * _BLOCK)
        os.fsync(file)
        deadline = time.monotonic() + seconds
        while len(found) < _MOST and (time.monotonic() < deadline or not found):
            os.pwrite(file, os.urandom(_BLOCK), len(found) * _BLOCK)
            began = time.perf_counter()
            os.fdatasync(file)
            found.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return found
