"""A device at the other end of a serial cable: a pseudo-terminal under a name that stays, as a
link of /dev/serial/by-id does, while what it leads to changes with each plugging in."""

import os
import threading
import tty
from collections.abc import Callable
from pathlib import Path


class Cable:
    """See the module. answer: what the device says to each line that it hears; b"" for nothing.
    master: its end of the cable."""

    def __init__(self, link: Path, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.link = link
        self.answer = answer
        self.heard: list[bytes] = []
        self.paths: list[str] = []
        self.master = self._slave = -1

    def plug(self) -> "Cable":
        """Connect it; under another name of the kernel's than before."""
        before = self.master, self._slave
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        for fd in before:  # only now, else the name is given out again
            if fd >= 0:
                os.close(fd)
        path = os.ttyname(self._slave)
        self.paths.append(path)
        other = self.link.with_suffix(".new")
        other.symlink_to(path)
        other.rename(self.link)
        if self.answer is not None:
            threading.Thread(target=self._serve, args=(self.master,), daemon=True).start()
        return self

    def unplug(self) -> None:
        """Pull it: the port is gone, and so is its name."""
        self.link.unlink(missing_ok=True)
        for fd in (self.master, self._slave):
            if fd >= 0:
                os.close(fd)
        self.master = self._slave = -1

    def say(self, data: bytes) -> None:
        """Send."""
        while data:
            data = data[os.write(self.master, data) :]

    def _serve(self, master: int) -> None:
        rest = b""
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            for line in filter(None, lines):
                self.heard.append(line)
                answer = self.answer(line) if self.answer is not None else b""
                try:
                    os.write(master, answer)
                except OSError:
                    return
