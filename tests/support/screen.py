"""A terminal for programs that draw on the whole screen: a pty, and what a person would see."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_PART = re.compile(
    r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>]|([\r\n\x07\x08])|(.)", re.S
)


class Screen:
    """What is shown, cell by cell, for the sequences that our programs and a shell use.

    overflowed: what went on behind the last column since all was cleared. cleared: whether it ever
    was; before that a program may still draw for another size. colours: every SGR sequence seen.
    modes: private modes that are set (1049: the other screen, 25: the cursor).
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.overflowed: list[str] = []
        self.cleared = False
        self.colours: set[str] = set()
        self.modes = {"25", "7"}
        self.cells: list[list[tuple[str, str]]] = []
        self._row = self._column = 0
        self._look = ""
        self._rest = ""
        self.clear()

    def clear(self) -> None:
        """Nothing is shown."""
        self.cells = [[(" ", "")] * self.columns for _ in range(self.rows)]

    @property
    def lines(self) -> list[str]:
        """What is shown, without colours."""
        return ["".join(char for char, _ in row).rstrip() for row in self.cells]

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    def look_of(self, text: str) -> str:
        """The SGR sequence that the first place with `text` is shown in."""
        for line, row in zip(self.lines, self.cells, strict=True):
            if (place := line.find(text)) >= 0:
                return row[place][1]
        raise AssertionError(f"{text!r} is not shown\n{self.text}")

    def feed(self, data: str) -> None:
        """Show what a program wrote."""
        data = self._rest + data
        cut = data.rfind("\x1b", max(len(data) - 12, 0))
        whole = cut < 0 or re.match(r"\x1b(\[[?0-9;]*[A-Za-z]|[^\[])", data[cut:])
        data, self._rest = (data, "") if whole else (data[:cut], data[cut:])
        for match in _PART.finditer(data):
            parameters, command, control, char = match.groups()
            if command:
                self._command(parameters, command)
            elif control:
                self._control(control)
            elif char:
                self._put(char)

    def _command(self, parameters: str, command: str) -> None:
        if command == "H":
            row, _, column = parameters.partition(";")
            self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
        elif command == "m":
            self._look = "" if parameters in ("", "0") else parameters
            self.colours.add(parameters)
        elif command == "J":
            self.clear()
            self.cleared, self.overflowed = True, []
        elif command in "hl" and parameters.startswith("?"):
            change = self.modes.add if command == "h" else self.modes.discard
            for mode in parameters[1:].split(";"):
                change(mode)

    def _control(self, control: str) -> None:
        if control == "\r":
            self._column = 0
        elif control == "\n":
            self._row = min(self._row + 1, self.rows - 1)
        elif control == "\x08":
            self._column = max(self._column - 1, 0)

    def _put(self, char: str) -> None:
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if "1049" in self.modes and (self._column + wide > self.columns or self._row >= self.rows):
            self.overflowed.append(f"{char!r} at row {self._row}, column {self._column}")
        elif self._column < self.columns and self._row < self.rows:
            self.cells[self._row][self._column] = (char, self._look)
        self._column += wide


class Terminal:
    """A program on a terminal of its own, as its controlling one, and the screen it draws on."""

    def __init__(
        self, command: Sequence[str], columns: int, rows: int, env: dict[str, str]
    ) -> None:
        self.screen = Screen(columns, rows)
        self.master, slave = os.openpty()
        self.slave = slave
        self._size(columns, rows)
        self.modes = self.attributes()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.written = ""
        self._partial = b""

    def attributes(self) -> list[Any]:
        """The terminal's modes."""
        return termios.tcgetattr(self.slave)

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size; the kernel tells the program."""
        self.read(0.05)
        self.screen = Screen(columns, rows)
        self.screen.modes.add("1049")
        self._size(columns, rows)

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.master, keys.encode())

    def read(self, timeout: float) -> None:
        """Take what is written within `timeout` (s)."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                data = self._partial + os.read(self.master, 1 << 16)
            except OSError:
                return
            text = data.decode(errors="ignore")
            self._partial = b"" if not data or data[-1] < 0x80 else _unfinished(data)
            self.written += text
            self.screen.feed(text)

    def until(self, condition: Callable[[Screen], bool], timeout: float = 30) -> Screen:
        """The screen, once `condition` holds. Raises AssertionError with what is shown."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if condition(self.screen):
                return self.screen
            self.read(0.05)
        raise AssertionError(f"not within {timeout:g} s:\n{self.screen.text}")

    def shows(self, *texts: str) -> Screen:
        """The screen, once all of these are on it."""
        return self.until(lambda screen: all(text in screen.text for text in texts))

    def ended(self) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        self.read(0.05)
        code = self.process.poll()
        assert code is not None, "it does not end"
        return code


def _unfinished(data: bytes) -> bytes:
    """The bytes of a character that has not come wholly."""
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] >= 0xC0:
            needs = 2 if data[-back] < 0xE0 else 3 if data[-back] < 0xF0 else 4
            return data[-back:] if needs > back else b""
    return b""


@contextmanager
def terminal(
    command: Sequence[str], columns: int, rows: int, env: dict[str, str]
) -> Iterator[Terminal]:
    """A program on a terminal; killed at the end if it still runs."""
    shown = Terminal(command, columns, rows, env)
    try:
        yield shown
    finally:
        if shown.process.poll() is None:
            shown.process.kill()
            shown.process.wait()
        os.close(shown.master)
        os.close(shown.slave)
