"""Small file systems of a test's own, and what can go wrong with them."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CALLS = "pwrite64,write,fallocate,ftruncate,fdatasync,fsync,unlink,rename"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="no loop devices here"
)
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A tmpfs of that size."""
    directory.mkdir(parents=True)
    options = f"size={megabytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


class Filler:
    """Somebody else who takes all the room there is, and all that is let go, until it ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "somebody-elses"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            while not self._stop.wait(0.02):
                for size in (1 << 20, 4096):
                    with contextlib.suppress(OSError):
                        while file.write(bytes(size)):
                            pass

    def end(self) -> None:
        """Give the room back."""
        self._stop.set()
        self._thread.join()
        self._path.unlink()


class Card:
    """An ext4 on a loop device, which turns read-only at an error as a dying card's does."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory = directory / "card"
        self._image = directory / "card.img"
        self._size = megabytes << 20
        self.device = ""

    def __enter__(self) -> "Card":
        with self._image.open("wb") as file:
            os.truncate(file.fileno(), self._size)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._image],
            check=True,
        )
        self.directory.mkdir()
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()

    def mount(self) -> None:
        """Check, as a start of the machine does, and mount."""
        subprocess.run(["e2fsck", "-p", self._image], check=False, capture_output=True)
        found = subprocess.run(
            ["losetup", "-f", "--show", self._image], check=True, capture_output=True, text=True
        )
        self.device = found.stdout.strip()
        options = ["-o", "errors=remount-ro"]
        subprocess.run(["mount", *options, self.device, self.directory], check=True)

    def fail(self) -> None:
        """An error of the file system: from now on it is read-only."""
        name = Path(self.device).name
        (Path("/sys/fs/ext4") / name / "trigger_fs_error").write_text("test")

    def unmount(self) -> None:
        """Unmount, once nobody uses it."""
        subprocess.run(["umount", self.directory], check=True)
        subprocess.run(["losetup", "-d", self.device], check=True)


@contextmanager
def errors(pid: int, code: str, calls: str = _CALLS, when: str = "1+") -> Iterator[None]:
    """What a process writes fails with this error, for as long as the context lasts."""
    inject = f"inject={calls}:error={code}:when={when}"
    strace = subprocess.Popen(
        ["strace", "-f", "-q", "-p", str(pid), "-e", f"trace={calls}", "-e", inject, "-o",
         "/dev/null"], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(20)
