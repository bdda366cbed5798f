"""A device at the other end of a serial cable: a pseudo-terminal under a name that stays, as a
link of /dev/serial/by-id does, while what it leads to changes with each plugging in."""

import os
import select
import threading
import tty
from collections.abc import Callable
from pathlib import Path


class Cable:
    """See the module. answer: what the device says to each line that it hears; b"" for nothing.
    master: its end of the cable; slave: ours."""

    def __init__(self, link: Path, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.link = link
        self.answer = answer
        self.heard: list[bytes] = []
        self.paths: list[str] = []
        self.master = self.slave = -1
        self._pulled = threading.Event()
        self._thread: threading.Thread | None = None

    def plug(self) -> "Cable":
        """Connect it; under another name of the kernel's than before."""
        self._stop()
        before = self.master, self.slave
        self.master, self.slave = self._other_pair()
        tty.setraw(self.slave)
        for fd in before:  # only now, else the name is given out again
            if fd >= 0:
                os.close(fd)
        path = os.ttyname(self.slave)
        self.paths.append(path)
        other = self.link.with_suffix(".new")
        other.symlink_to(path)
        other.rename(self.link)
        self._pulled.clear()
        self._thread = threading.Thread(target=self._serve, args=(self.master,), daemon=True)
        if self.answer is not None:
            self._thread.start()
        return self

    def _other_pair(self) -> tuple[int, int]:
        """One with another name than the last, which may be free again."""
        master, slave = os.openpty()
        if os.ttyname(slave) not in self.paths[-1:]:
            return master, slave
        pair = os.openpty()
        os.close(master)
        os.close(slave)
        return pair

    def let_go(self) -> None:
        """Have the port no longer open ourselves."""
        os.close(self.slave)
        self.slave = -1

    def unplug(self) -> None:
        """Pull it: the port is gone, and so is its name."""
        self._stop()
        self.link.unlink(missing_ok=True)
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        self.master = self.slave = -1

    def say(self, data: bytes) -> None:
        """Send."""
        while data:
            data = data[os.write(self.master, data) :]

    def _stop(self) -> None:
        """A thread that waits at the cable would keep it plugged in."""
        self._pulled.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _serve(self, master: int) -> None:
        rest = b""
        while not self._pulled.is_set():
            if not select.select([master], [], [], 0.02)[0]:
                continue
            *lines, rest = (rest + os.read(master, 4096)).replace(b"\r", b"\n").split(b"\n")
            for line in filter(None, lines):
                self.heard.append(line)
                os.write(master, self.answer(line) if self.answer is not None else b"")
