"""The terminal while it is ours: the other screen, keys as they are pressed, whole frames.

Control sequences are those of xterm (invisible-island.net/xterm/ctlseqs), which the Linux console,
tmux and screen know as well.
"""

import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # a terminal that knows it shows a frame at once
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O[A-Za-z]|[^\[O\x1b])")
_NAMES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[5~": "pageup", "[6~": "pagedown",
    "[H": "home", "OH": "home", "[1~": "home", "[7~": "home",
    "[F": "end", "OF": "end", "[4~": "end", "[8~": "end",
    "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace",
    "\x04": "q",
}  # fmt: skip
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Ended(Exception):
    """A signal asks us to end. number: which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Keys:
    """Names of keys in what a terminal sends; a letter is its own name."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def pending(self) -> bool:
        """Whether an Escape has come that may begin something longer."""
        return bool(self._rest)

    def take(self, data: bytes, *, last: bool = False) -> list[str]:
        """The keys in `data`. last: nothing more comes, so that an Escape was the key itself."""
        text = self._rest + data.decode(errors="ignore")
        self._rest, found = "", []
        while text:
            if text[0] != "\x1b":
                found.append(_NAMES.get(text[0], text[0]))
                text = text[1:]
            elif match := _SEQUENCE.match(text):
                found.append(_NAMES.get(match[0][1:], ""))
                text = text[match.end() :]
            elif last or text.startswith("\x1b\x1b"):
                found.append("escape")
                text = text[1:] if text.startswith("\x1b\x1b") else ""
            else:
                self._rest, text = text, ""
        return [key for key in found if key]


def size(output: int) -> tuple[int, int]:
    """Columns and rows of a terminal; 80 and 24 where it does not know."""
    try:
        found = os.get_terminal_size(output)
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24


class Terminal:
    """See the module. resized: whether the whole screen is to be drawn anew."""

    def __init__(self) -> None:
        self.resized = True
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._cooked: list[Any] = []
        self._stopped = False
        self._ended = 0
        self._wakeup, self._woken = os.pipe()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return size(self._output)

    @property
    def inputs(self) -> Sequence[int]:
        """What is readable when a key or a signal has come."""
        return self._input, self._wakeup

    @contextmanager
    def ours(self) -> Iterator["Terminal"]:
        """Inside, the terminal is ours; as it was afterwards, however that comes."""
        before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGWINCH)}
        os.set_blocking(self._woken, False)
        wakeup = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._cooked = termios.tcgetattr(self._input)
        try:
            for number in _ENDING:
                signal.signal(number, self._on_end)
            signal.signal(signal.SIGWINCH, self._on_change)
            signal.signal(signal.SIGCONT, self._on_change)
            signal.signal(signal.SIGTSTP, self._on_stop)
            self._enter()
            yield self
        finally:
            interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # not while giving it back
            self._leave()
            signal.signal(signal.SIGINT, interrupt)
            for number, handler in before.items():
                signal.signal(number, handler)
            for number in (signal.SIGCONT, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(wakeup)
            os.close(self._wakeup)
            os.close(self._woken)

    def read(self, keys: Keys, ready: Sequence[int]) -> list[str]:
        """The keys that were pressed. Raises Ended when we are asked to end. What was stopped and
        goes on again has taken the terminal back."""
        if self._wakeup in ready:
            os.read(self._wakeup, 512)
        if self._ended:
            raise Ended(self._ended)
        if self._stopped:
            self._stop()
        if self._input not in ready:
            return [] if ready else keys.take(b"", last=True)
        data = os.read(self._input, 1024)
        if not data:
            raise Ended(signal.SIGHUP)
        return keys.take(data)

    def show(self, lines: Sequence[str]) -> None:
        """Draw a frame, each line as wide as the screen, in one write: nothing flickers."""
        if self.resized:
            self.resized = False  # first: it may be resized again meanwhile
            self._enter()
        rows = "".join(f"\x1b[{row};1H{line}" for row, line in enumerate(lines, 1))
        self._write(f"{_BEGIN}{rows}{_END}")

    def _enter(self) -> None:
        tty.setcbreak(self._input, termios.TCSADRAIN)
        self._write(_ENTER)

    def _leave(self) -> None:
        with suppress(OSError):  # the terminal is gone
            self._write(_LEAVE)
        with suppress(OSError, termios.error):
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._cooked)

    def _stop(self) -> None:
        """Stop as Ctrl-Z asks, the terminal given back; returns when it goes on."""
        self._stopped = False
        self._leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._on_stop)
        self.resized = True

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(self._output, data) :]

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self._ended = number

    def _on_change(self, number: int, frame: FrameType | None) -> None:
        self.resized = True

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True
